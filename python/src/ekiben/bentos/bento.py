"""``Bento``: a version directory of the bento store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exceptions import BentoMLException, NotFound
from ..models.store import active_store
from ..stores.documents import read_document, read_tag, read_texts, read_time
from ..stores.item import Item
from ..stores.kind import BENTO
from ..tag import Tag

if TYPE_CHECKING:
    from ..stores.archives.contents import Entry

BENTO_YAML = BENTO.file_name

# Models of this registry are in a model store; others (Hugging Face) are not carried by archives.
STORE_REGISTRY = "bentoml"

# When the models of very old bentos were made: they do not say.
UNKNOWN_TIME = datetime(1, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class BentoModelInfo:
    """A model that a bento needs, at its exact version."""

    tag: Tag
    module: str | None
    creation_time: datetime
    alias: str | None = None
    registry: str = STORE_REGISTRY
    metadata: dict[str, Any] | None = None

    @classmethod
    def from_data(cls, data: Any) -> BentoModelInfo:
        """Read an entry of ``models``: a mapping, or in very old bentos a tag alone."""
        if isinstance(data, str):
            return cls(Tag.from_str(data), "unknown", UNKNOWN_TIME)
        return cls(
            tag=Tag.from_str(str(data["tag"])),
            module=data.get("module"),
            creation_time=read_time(data.get("creation_time") or UNKNOWN_TIME),
            alias=data.get("alias"),
            registry=data.get("registry") or STORE_REGISTRY,
            metadata=data.get("metadata"),
        )


@dataclass(frozen=True)
class BentoInfo:
    """What ``bento.yaml`` says. ``to_dict`` has all of it, also what has no attribute here."""

    tag: Tag
    service: str
    bentoml_version: str
    creation_time: datetime
    labels: dict[str, str]
    models: list[BentoModelInfo]
    entry_service: str
    services: list[dict[str, Any]]
    envs: list[dict[str, Any]]
    schema: dict[str, Any]
    args: dict[str, Any]
    spec: int
    image: dict[str, Any] | None
    document: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the tag."""
        return self.tag.name

    @property
    def version(self) -> str | None:
        """The version of the tag."""
        return self.tag.version

    @property
    def all_models(self) -> list[BentoModelInfo]:
        """Every model, the services' own included, each once; a later mention replaces an earlier one."""
        own = [BentoModelInfo.from_data(model) for service in self.services for model in service.get("models") or []]
        return list({model.tag: model for model in [*self.models, *own]}.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the mapping as written."""
        return dict(self.document)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> BentoInfo:
        """Read the mapping; keys that releases before 1.4 did not write may be missing."""
        return cls(
            tag=read_tag(data),
            service=data["service"],
            bentoml_version=data.get("bentoml_version") or "",
            creation_time=read_time(data["creation_time"]),
            labels=read_texts(data, "labels"),
            models=[BentoModelInfo.from_data(model) for model in data.get("models") or []],
            entry_service=data.get("entry_service") or "",
            services=data.get("services") or [],
            envs=data.get("envs") or [],
            schema=data.get("schema") or {},
            args=data.get("args") or {},
            spec=data.get("spec") or 1,
            image=data.get("image"),
            document=data,
        )


class Bento(Item):
    """A bento: its tag, its files, and what ``bento.yaml`` says about it."""

    kind = BENTO

    def __init__(self, path: Path, info: BentoInfo):
        self._path = path
        self.info = info

    @classmethod
    def read(cls, path: Path) -> Bento:
        """Read the bento in a version directory."""
        return cls(path, read_document(BENTO, path, BentoInfo.from_dict))

    @property
    def tag(self) -> Tag:
        """The bento's name and version."""
        return self.info.tag

    @property
    def creation_time(self) -> datetime:
        """When the bento was built."""
        return self.info.creation_time

    @property
    def labels(self) -> dict[str, str]:
        """The labels given when the bento was built."""
        return self.info.labels

    def archive_entries(self) -> list[Entry]:
        """Return the bento's files, and below ``models/`` the models it needs from the store."""
        from ..stores.archives.contents import directory_entry, text_entry, tree_entries

        # A bento that carries its models says so with this directory.
        entries = [entry for entry in tree_entries(self._path) if entry.name.split("/")[0] != "models"]
        modified = entries[0].modified
        entries.append(directory_entry("models", modified))
        latest: dict[str, Any] = {}
        for needed in self.info.all_models:
            if needed.registry != STORE_REGISTRY:
                continue
            try:
                model = active_store().get(needed.tag)
            except NotFound as error:
                raise BentoMLException(
                    f"cannot export `{self.tag}` without its model `{needed.tag}`: {error}"
                ) from error
            name = model.tag.name
            if name not in latest:
                entries.append(directory_entry(f"models/{name}", modified))
            if name not in latest or model.creation_time >= latest[name].creation_time:
                latest[name] = model
            entries.extend(tree_entries(Path(model.path), below=f"models/{model.tag.path()}"))
        for name, model in latest.items():
            entries.append(text_entry(f"models/{name}/latest", str(model.tag.version), modified))
        return entries
