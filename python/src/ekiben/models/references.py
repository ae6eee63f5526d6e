"""Class-level references to models: found in a service without running it, resolved on its instances."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any

from ..exceptions import NotFound
from ..tag import Tag
from . import hub_cache
from .model import Model
from .store import active_store


class ModelReference(ABC):
    """A model by name. On a class it is itself; on an instance it is what ``resolve`` gives, once."""

    _resolved: Any = None

    @abstractmethod
    def resolve(self) -> Any:
        """Return the model that the reference names."""

    @abstractmethod
    def pin(self, entry: dict[str, Any]) -> None:
        """Take the exact version from an entry of ``bento.yaml``."""

    def resolved(self) -> Any:
        """Return the model, looked up once."""
        if self._resolved is None:
            self._resolved = self.resolve()
        return self._resolved

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else self.resolved()


class BentoModel(ModelReference):
    """A model of the store."""

    def __init__(self, tag: Tag | str):
        self.tag = Tag.from_taglike(tag)

    def resolve(self) -> Model:
        """Find the model in the store."""
        try:
            return active_store().get(self.tag)
        except NotFound as error:
            raise NotFound(f"model `{self.tag}` is not in the store: {error}") from error

    def pin(self, entry: dict[str, Any]) -> None:
        """Replace ``latest`` or a prefix by the version that the bento was built with."""
        self.tag = Tag.from_str(str(entry["tag"]))

    def __str__(self) -> str:
        return str(self.tag)

    def __repr__(self) -> str:
        return f"BentoModel(tag={str(self.tag)!r})"


class HuggingFaceModel(ModelReference):
    """A snapshot of a repository on the Hugging Face hub; on an instance, its directory."""

    def __init__(
        self,
        model_id: str,
        revision: str = "main",
        endpoint: str | None = None,
        include: list[str] | None = None,
        exclude: list[str] | None = None,
    ):
        self.model_id = model_id
        self.revision = revision
        self.endpoint = endpoint or os.environ.get("HF_ENDPOINT")
        self.include = include
        self.exclude = exclude

    def resolve(self) -> str:
        """Return the snapshot's directory: from the cache, else downloaded by the hub's own client, else by ``ekiben``.

        Raises ``BentoMLException`` when it is not here and cannot be had.
        """
        found = hub_cache.find_snapshot(self.model_id, self.revision, self.include, self.exclude)
        if found is not None:
            return found
        try:
            from huggingface_hub import snapshot_download
        except ImportError:
            return self._pull()
        return snapshot_download(
            self.model_id,
            revision=self.revision,
            endpoint=self.endpoint,
            cache_dir=os.environ.get("BENTOML_HF_CACHE_DIR"),
            allow_patterns=self.include,
            ignore_patterns=self.exclude,
        )

    def _pull(self) -> str:
        from ..stores import executable

        places = {"HF_ENDPOINT": self.endpoint, "HF_HUB_CACHE": os.environ.get("BENTOML_HF_CACHE_DIR")}
        return executable.pull_snapshot(
            f"{self.model_id}@{self.revision}",
            include=_as_list(self.include),
            exclude=_as_list(self.exclude),
            environment={name: value for name, value in places.items() if value},
        )

    def pin(self, entry: dict[str, Any]) -> None:
        """Take the commit that the bento was built with."""
        tag = Tag.from_str(str(entry["tag"]))
        metadata = entry.get("metadata") or {}
        self.model_id = metadata.get("model_id") or tag.name.replace("--", "/")
        self.revision = metadata.get("revision") or str(tag.version)

    def __str__(self) -> str:
        return f"{self.model_id}:{self.revision}"

    def __repr__(self) -> str:
        return f"HuggingFaceModel(model_id={self.model_id!r}, revision={self.revision!r})"


def _as_list(patterns: list[str] | str | None) -> list[str] | None:
    return [patterns] if isinstance(patterns, str) else patterns
