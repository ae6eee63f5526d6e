"""``Item``: what models and bentos have in common, a version directory of a store."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..tag import Tag
from .kind import Kind

if TYPE_CHECKING:
    from .archives.contents import Entry


class Item(ABC):
    """A version directory of a store. ``Item.read`` of a class gives the one in a directory."""

    kind: ClassVar[Kind]
    _path: Path

    @classmethod
    @abstractmethod
    def read(cls, path: Path) -> Any:
        """Read the item in a version directory; ``BentoMLException`` says what is wrong with it."""

    @property
    @abstractmethod
    def tag(self) -> Tag:
        """The name and version."""

    @property
    @abstractmethod
    def creation_time(self) -> datetime:
        """When the item was made."""

    @property
    def path(self) -> str:
        """The directory of the item's files."""
        return str(self._path)

    def path_of(self, item: str) -> str:
        """Return the path of a file of the item."""
        return str(self._path / item.lstrip("/"))

    @property
    def file_size(self) -> int:
        """The bytes of all files under the directory; a link counts as its target."""
        return sum(
            os.stat(os.path.join(directory, name)).st_size
            for directory, _, names in os.walk(self._path)
            for name in names
            if os.path.isfile(os.path.join(directory, name))
        )

    def archive_entries(self) -> list[Entry]:
        """Return what an archive of the item holds."""
        from .archives.contents import tree_entries

        return tree_entries(self._path)

    def export(
        self,
        path: str,
        output_format: str | None = None,
        *,
        protocol: str | None = None,
        user: str | None = None,
        passwd: str | None = None,
        params: dict[str, str] | None = None,
        subpath: str | None = None,
    ) -> str:
        """Write the item to an archive or directory, or to a URL, and return where it is."""
        from .archives.location import Location
        from .archives.transfer import export_item

        location = Location.of(path, protocol=protocol, user=user, passwd=passwd, params=params, subpath=subpath)
        return export_item(self, location, output_format)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Item) and (self.kind, self.tag) == (other.kind, other.tag)

    def __hash__(self) -> int:
        return hash(self.tag)

    def __str__(self) -> str:
        return f'{self.kind.word}(tag="{self.tag}")'

    def __repr__(self) -> str:
        return f'{self.kind.word}(tag="{self.tag}", path="{self.path}")'
