"""``Store``: the directory ``NAME/VERSION`` of models or bentos, with a file ``NAME/latest`` per name."""

from __future__ import annotations

import builtins
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from ..exceptions import BentoMLException, NotFound
from ..tag import Tag
from .documents import read_text
from .item import Item
from .kind import Kind
from .staging import locked, move, staged, sync, sync_tree, write_atomically

logger = logging.getLogger(__name__)

I = TypeVar("I", bound=Item)  # noqa: E741 (the one item type)

LATEST = "latest"
# The longest content of a file that names a version, line feeds included.
LONGEST_POINTER = 1024


class Store(Generic[I]):
    """A store at ``path``. What is not finished yet is kept under ``staging``, never in the store itself."""

    item: ClassVar[type[Item]]

    def __init__(self, path: Path, staging: Path):
        self.path = path
        self.staging = staging

    @property
    def kind(self) -> Kind:
        """Whether it holds models or bentos."""
        return self.item.kind

    def list(self, tag: Tag | str | None = None) -> list[I]:
        """Return all items, those of a name in version order, or one version if it exists.

        An item that cannot be read is left out, with a warning that names it and says why.
        """
        items, broken = self.survey(tag)
        for error in broken:
            logger.warning("skipping a broken %s: %s", self.kind.word.lower(), error)
        return items

    def survey(self, tag: Tag | str | None = None) -> tuple[builtins.list[I], builtins.list[BentoMLException]]:
        """Return the same items as ``list``, and one error for each that cannot be read."""
        items, broken = [], []
        for path in self._paths(Tag.from_taglike(tag) if tag else None):
            try:
                items.append(self.item.read(path))
            except BentoMLException as error:
                broken.append(error)
        return items, broken

    def get(self, tag: Tag | str) -> I:
        """Return one item: exact version, unique prefix of a version, or the latest of a name."""
        wanted = Tag.from_taglike(tag)
        if wanted.version in (None, LATEST):
            return self._latest(wanted.name)
        path = self.path / wanted.path()
        if path.is_dir():
            return self.item.read(path)
        versions = [
            version for version in _directories(self.path / wanted.name) if version.startswith(wanted.version or "")
        ]
        if len(versions) == 1:
            return self.item.read(self.path / wanted.name / versions[0])
        if versions:
            raise BentoMLException(f"Multiple {wanted.name} versions found: {', '.join(versions)}")
        raise NotFound(
            f"{self.kind.word} '{tag}' is not found in BentoML store {self.path}, "
            f"you may need to run `{self.kind.pull_command}` first"
        )

    def delete(self, tag: Tag | str) -> None:
        """Remove one version; ``latest`` moves to the newest that is left. A bare name removes all versions."""
        wanted = Tag.from_taglike(tag)
        if wanted.version == LATEST:
            wanted = self._latest(wanted.name).tag
        with self.locked(wanted.name):
            path = self.path / wanted.path()
            if not path.is_dir():
                raise NotFound(f"{self.kind.word} '{tag}' not found")
            self._remove(path)
            name = self.path / wanted.name
            if (newest := self._newest(wanted.name)) is not None:
                self._write_latest(newest.tag)
            elif name.is_dir() and not _directories(name):
                self._remove(name)

    def stage(self, name: str) -> AbstractContextManager[Path]:
        """Open a directory in which a new item can be prepared."""
        return staged(self.staging, self.kind.directory, name)

    def register(self, content: Path) -> I:
        """Turn a prepared directory into an item, all at once.

        The files are on disk before the item appears, and ``latest`` moves to it if it is the newest.
        """
        new = self.item.read(content)
        tag = new.tag
        self.refuse_taken(tag)
        sync_tree(content)
        final = self.path / tag.path()
        with self.locked(tag.name):
            self.refuse_taken(tag)
            newest = self._newest(tag.name)
            has_name = final.parent.is_dir()
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                # First the pointer: a writer killed here leaves one to nothing, and readers then look for themselves.
                if newest is None or new.creation_time >= newest.creation_time:
                    self._write_latest(tag)
                move(content, final)
                sync(final.parent)
                sync(self.path)
            except BaseException:
                # Leave nothing: neither a half of a copy to another file system, nor a pointer to it, nor a new name.
                shutil.rmtree(final, ignore_errors=True)
                self._restore(tag.name, newest if has_name else None)
                raise
        return self.item.read(final)

    def refuse_taken(self, tag: Tag) -> None:
        """Raise if there is an item with this tag, or if the tag cannot be that of an item."""
        if tag.version == LATEST:
            raise BentoMLException(f"cannot create `{tag}`: `{LATEST}` is not a version, it names the newest one")
        if os.path.lexists(self.path / tag.path()):
            raise BentoMLException(f"Item '{tag}' already exists in the store {self.path}")

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the lock of a name: nobody else adds or removes one of its versions meanwhile."""
        with locked(self.staging, f"{self.kind.directory}--{name}.lock"):
            yield

    def _paths(self, tag: Tag | None) -> Iterator[Path]:
        if tag is None:
            for name in _directories(self.path):
                for version in _directories(self.path / name):
                    yield self.path / name / version
        elif tag.version is not None:
            if (path := self.path / tag.path()).is_dir():
                yield path
        elif (name := self.path / tag.name).is_dir():
            for version in _directories(name):
                yield name / version
        else:
            raise NotFound(f"no {self.kind.word}s with name '{tag.name}' found")

    def _latest(self, name: str) -> I:
        """Follow the pointer; where it leads nowhere, the newest item is the latest.

        Nothing is repaired: a reader holds no lock, and could undo what a writer has just done.
        """
        version = self._named_latest(name)
        if version and (path := self.path / name / version).is_dir():
            return self.item.read(path)
        newest = self._newest(name)
        if newest is None:
            raise NotFound(f"no {self.kind.word}s with name '{name}' exist in BentoML store {self.path}")
        return newest

    def _named_latest(self, name: str) -> str | None:
        """Return the version in the pointer's file; None where it names none."""
        try:
            version = read_text(self.path / name / LATEST, LONGEST_POINTER).strip()
            is_version = version != LATEST and Tag(name, version.lower()).version == version
        except (OSError, ValueError):
            return None
        return version if is_version else None

    def _newest(self, name: str) -> I | None:
        newest = None
        for version in _directories(self.path / name):
            with suppress(BentoMLException):
                item = self.item.read(self.path / name / version)
                if item.tag.version == version and (newest is None or _age(item) >= _age(newest)):
                    newest = item
        return newest

    def _write_latest(self, tag: Tag) -> None:
        write_atomically(self.staging, self.path / tag.latest_path(), str(tag.version))

    def _restore(self, name: str, newest: I | None) -> None:
        with suppress(OSError):
            if newest is not None:
                self._write_latest(newest.tag)
            else:
                (self.path / name / LATEST).unlink(missing_ok=True)
                (self.path / name).rmdir()

    def _remove(self, path: Path) -> None:
        """Take a directory out of the store in one step, then delete it."""
        with self.stage(path.name) as grave:
            move(path, grave / path.name)


def _age(item: Item) -> tuple[object, Tag]:
    return item.creation_time, item.tag


def _directories(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise BentoMLException(f"cannot read `{path}`: {error.strerror}") from error
