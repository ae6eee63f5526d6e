"""``ModelInfo``: the contents of ``model.yaml``, read and written in upstream's key order and YAML style."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..stores.documents import read_document, read_tag, read_texts, read_time
from ..stores.kind import MODEL
from ..tag import Tag
from ..version import BENTOML_VERSION
from .metadata import checked_labels, checked_metadata, plain

MODEL_YAML = MODEL.file_name


class ModelOptions:
    """Options of a framework module, kept with the model."""

    def __init__(self, **options: Any):
        self.__dict__.update(options)

    def to_dict(self) -> dict[str, Any]:
        """Return the options as written to ``model.yaml``."""
        return dict(self.__dict__)

    def with_options(self, **changes: Any) -> ModelOptions:
        """Return a copy with some options changed."""
        return type(self)(**{**self.__dict__, **changes})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelOptions) and self.__dict__ == other.__dict__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.__dict__!r})"

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class ModelContext:
    """What wrote the model: the framework and the versions at hand."""

    framework_name: str = ""
    framework_versions: dict[str, str] = field(default_factory=dict)
    bentoml_version: str = BENTOML_VERSION
    python_version: str = field(default_factory=platform.python_version)

    def to_dict(self) -> dict[str, Any]:
        """Return the context as written to ``model.yaml``."""
        return dict(self.__dict__)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelContext:
        """Read a context, in today's form or that of releases before 1.0."""
        known = {key: data[key] for key in cls.__dataclass_fields__ if data.get(key) is not None}
        versions = {} if "pip_dependencies" in data else read_texts(data, "framework_versions")
        return cls(**{**known, "framework_versions": versions})


@dataclass(frozen=True)
class ModelSignature:
    """A method of the model that can be called, and whether calls may be merged."""

    batchable: bool = False
    batch_dim: tuple[int, int] = (0, 0)
    input_spec: Any = None
    output_spec: Any = None

    @classmethod
    def of(cls, data: ModelSignature | Mapping[str, Any]) -> ModelSignature:
        """Read a signature given as object or mapping; an integer ``batch_dim`` means both dimensions."""
        if isinstance(data, ModelSignature):
            return data
        known = {key: data[key] for key in cls.__dataclass_fields__ if key in data}
        if "batch_dim" in known:
            dims = known["batch_dim"]
            known["batch_dim"] = (dims, dims) if isinstance(dims, int) else tuple(dims)
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Return the signature as written: the dimension only if batchable, the specs only if given."""
        written: dict[str, Any] = {"batchable": self.batchable}
        if self.batchable:
            written["batch_dim"] = list(self.batch_dim)
        if self.input_spec is not None:
            written["input_spec"] = self.input_spec
        if self.output_spec is not None:
            written["output_spec"] = self.output_spec
        return written


@dataclass(frozen=True)
class ModelInfo:
    """Everything ``model.yaml`` says."""

    tag: Tag
    module: str
    labels: dict[str, str]
    options: ModelOptions
    metadata: dict[Any, Any]
    context: ModelContext
    signatures: dict[str, ModelSignature]
    api_version: str
    creation_time: datetime

    @classmethod
    def new(
        cls,
        tag: Tag,
        *,
        module: str = "",
        labels: Mapping[str, Any] | None = None,
        options: ModelOptions | Mapping[str, Any] | None = None,
        metadata: Mapping[Any, Any] | None = None,
        context: ModelContext | None = None,
        signatures: Mapping[str, Any] | None = None,
        api_version: str = "v1",
    ) -> ModelInfo:
        """Describe a model about to be written; a tag without version gets a new one."""
        if tag.version is None:
            tag = tag.make_new_version()
        return cls(
            tag=tag,
            module=module,
            labels=checked_labels(labels),
            options=options if isinstance(options, ModelOptions) else ModelOptions(**(options or {})),
            metadata=checked_metadata(metadata),
            context=context or ModelContext(),
            signatures={name: ModelSignature.of(data) for name, data in (signatures or {}).items()},
            api_version=api_version,
            creation_time=datetime.now(timezone.utc),
        )

    @property
    def name(self) -> str:
        """The name of the tag."""
        return self.tag.name

    @property
    def version(self) -> str | None:
        """The version of the tag."""
        return self.tag.version

    def with_options(self, **changes: Any) -> ModelInfo:
        """Return a copy with some options changed."""
        return replace(self, options=self.options.with_options(**changes))

    def to_dict(self) -> dict[str, Any]:
        """Return the mapping that is written, in the order in which it is written."""
        return {
            "name": self.tag.name,
            "version": self.tag.version,
            "module": self.module,
            "labels": dict(self.labels),
            "options": plain(self.options.to_dict()),
            "metadata": plain(self.metadata),
            "context": self.context.to_dict(),
            "signatures": {name: signature.to_dict() for name, signature in self.signatures.items()},
            "api_version": self.api_version,
            "creation_time": self.creation_time.isoformat(),
        }

    def to_yaml(self) -> str:
        """Return the text of ``model.yaml``."""
        import yaml

        try:
            return yaml.safe_dump(self.to_dict(), sort_keys=False)
        except yaml.representer.RepresenterError as error:
            kind = type(error.args[1]).__name__ if len(error.args) > 1 else "unknown"
            raise ValueError(f"a value of type `{kind}` cannot be written to {MODEL_YAML}") from error

    @classmethod
    def read(cls, path: Path) -> ModelInfo:
        """Read ``model.yaml`` of a version directory."""
        return read_document(MODEL, path, cls._from_dict)

    @classmethod
    def _from_dict(cls, data: dict[str, Any]) -> ModelInfo:
        tag, created = read_tag(data), read_time(data["creation_time"])
        signatures = data.get("signatures") or {}
        return cls(
            tag=tag,
            module=str(data.get("module") or ""),
            labels=read_texts(data, "labels"),
            options=ModelOptions(**(data.get("options") or {})),
            metadata=data.get("metadata") or {},
            context=ModelContext.from_dict(data.get("context") or {}),
            signatures={str(name): ModelSignature.of(signature) for name, signature in signatures.items()},
            api_version=str(data.get("api_version") or "v1"),
            creation_time=created,
        )
