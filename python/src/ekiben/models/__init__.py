"""``bentoml.models``: the model store of this machine, or the one inside the bento being served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ..tag import Tag
from ..unsupported import NotSupportedYet
from .home import active_store, alias_target
from .info import ModelContext, ModelInfo, ModelOptions, ModelSignature
from .model import Model
from .references import BentoModel, HuggingFaceModel
from .writing import write_model

__all__ = [
    "BentoModel",
    "HuggingFaceModel",
    "Model",
    "ModelContext",
    "ModelInfo",
    "ModelOptions",
    "ModelSignature",
    "create",
    "delete",
    "export_model",
    "get",
    "import_model",
    "list",
    "pull",
    "push",
]


def list(tag: Tag | str | None = None) -> list[Model]:
    """Return the models of a name, one version as a list, or all models of the store."""
    return active_store().list(tag)


def get(tag: Tag | str) -> Model:
    """Return the model that ``tag`` names: an alias of the bento, a version, a prefix of one, or the latest."""
    return active_store().get(alias_target(tag))


def delete(tag: Tag | str) -> None:
    """Remove one version; ``NotFound`` when there is none."""
    active_store().delete(tag)


@contextmanager
def create(
    name: Tag | str,
    *,
    labels: dict[str, str] | None = None,
    metadata: dict[str, Any] | None = None,
    module: str = "",
    api_version: str = "v1",
    signatures: dict[str, Any] | None = None,
    options: ModelOptions | dict[str, Any] | None = None,
    custom_objects: dict[str, Any] | None = None,
    external_modules: list[ModuleType] | None = None,
    context: ModelContext | None = None,
) -> Iterator[Model]:
    """Yield a model whose ``path`` takes the files; it is in the store when the block ends without an error.

    An exception inside the block stores nothing. ``external_modules`` are pickled by value into ``custom_objects``.
    """
    info = ModelInfo.new(
        Tag.from_taglike(name),
        module=module,
        labels=labels,
        options=options,
        metadata=metadata,
        context=context,
        signatures=signatures,
        api_version=api_version,
    )
    with write_model(active_store(), info, custom_objects, external_modules or []) as model:
        yield model


def import_model(path: str, *_args: Any, **_kwargs: Any) -> Model:
    """Not supported yet."""
    raise NotSupportedYet("bentoml.models.import_model", f"cannot read `{path}`")


def export_model(tag: Tag | str, *_args: Any, **_kwargs: Any) -> str:
    """Not supported yet."""
    raise NotSupportedYet("bentoml.models.export_model", f"cannot write `{tag}`")


def push(tag: Tag | str, **_kwargs: Any) -> None:
    """Not supported yet."""
    raise NotSupportedYet("bentoml.models.push", f"cannot push `{tag}`")


def pull(tag: Tag | str, **_kwargs: Any) -> Model:
    """Not supported yet."""
    raise NotSupportedYet("bentoml.models.pull", f"cannot pull `{tag}`")
