"""``bentoml.models``: the model store of this machine, or the one inside the bento being served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ..stores import executable
from ..stores.home import alias_target
from ..stores.kind import MODEL
from ..tag import Tag
from .info import ModelContext, ModelInfo, ModelOptions, ModelSignature
from .model import Model
from .references import BentoModel, HuggingFaceModel
from .store import active_store
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


def import_model(
    path: str,
    input_format: str | None = None,
    *,
    protocol: str | None = None,
    user: str | None = None,
    passwd: str | None = None,
    params: dict[str, str] | None = None,
    subpath: str | None = None,
) -> Model:
    """Add the model in an archive or directory, or at a URL, to the store, under the tag that it carries.

    ``input_format`` is one of ``bentomodel``, ``gz``, ``xz``, ``bz2``, ``tar``, ``zip``, ``zst`` and ``folder``;
    without it the content of the file decides. ``protocol`` and what follows it are the parts of a URL, for those who
    have them apart.
    """
    from ..stores.archives.location import Location
    from ..stores.archives.transfer import import_item

    location = Location.of(path, protocol=protocol, user=user, passwd=passwd, params=params, subpath=subpath)
    return import_item(active_store(), location, input_format)


def export_model(
    tag: Tag | str,
    path: str,
    output_format: str | None = None,
    *,
    protocol: str | None = None,
    user: str | None = None,
    passwd: str | None = None,
    params: dict[str, str] | None = None,
    subpath: str | None = None,
) -> str:
    """Write a model to an archive or directory, or to a URL, and return where it is.

    A directory, and a path that ends in ``/``, gets the file ``NAME-VERSION.bentomodel``. Without ``output_format`` the
    last extension of ``path`` decides; any that is none of the formats becomes part of the name.
    """
    return get(tag).export(
        path, output_format, protocol=protocol, user=user, passwd=passwd, params=params, subpath=subpath
    )


def push(tag: Tag | str, destination: str | None = None, *, force: bool = False) -> None:
    """Upload a model, by the `ekiben` executable.

    ``destination`` is ``docker://REGISTRY/REPOSITORY:TAG``; without one, it is the cloud.
    """
    executable.push(get(tag), destination, force=force)


def pull(tag: Tag | str, *, force: bool = False) -> Model:
    """Download a model into the store, by the `ekiben` executable.

    Instead of a tag of the cloud, ``tag`` may be where a registry has it: ``docker://REGISTRY/REPOSITORY:TAG``.
    """
    return get(executable.pull(MODEL, tag, force=force))
