"""``bentoml.bentos``: the bento store of this machine; its functions are also ``bentoml.list``, ``bentoml.get`` ...."""

from __future__ import annotations

from ..stores import executable
from ..stores.kind import BENTO
from ..tag import Tag
from .bento import Bento
from .building import build, build_bentofile, containerize
from .store import bento_store

__all__ = [
    "Bento",
    "build",
    "build_bentofile",
    "containerize",
    "delete",
    "export_bento",
    "get",
    "import_bento",
    "list",
    "pull",
    "push",
]


def list(tag: Tag | str | None = None) -> list[Bento]:
    """Return the bentos of a name, one version as a list, or all bentos of the store."""
    return bento_store().list(tag)


def get(tag: Tag | str) -> Bento:
    """Return the bento that ``tag`` names: a version, a prefix of one, or the latest."""
    return bento_store().get(tag)


def delete(tag: Tag | str) -> None:
    """Remove one version; ``NotFound`` when there is none."""
    bento_store().delete(tag)


def import_bento(
    path: str,
    input_format: str | None = None,
    *,
    protocol: str | None = None,
    user: str | None = None,
    passwd: str | None = None,
    params: dict[str, str] | None = None,
    subpath: str | None = None,
) -> Bento:
    """Add the bento in an archive or directory, or at a URL, to the store, and its models to the model store.

    ``input_format`` is one of ``bento``, ``gz``, ``xz``, ``bz2``, ``tar``, ``zip``, ``zst`` and ``folder``; without it
    the content of the file decides.
    """
    from ..stores.archives.location import Location
    from ..stores.archives.transfer import import_item

    location = Location.of(path, protocol=protocol, user=user, passwd=passwd, params=params, subpath=subpath)
    return import_item(bento_store(), location, input_format)


def export_bento(
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
    """Write a bento with its models to an archive or directory, or to a URL, and return where it is.

    A directory, and a path that ends in ``/``, gets the file ``NAME-VERSION.bento``.
    """
    return get(tag).export(
        path, output_format, protocol=protocol, user=user, passwd=passwd, params=params, subpath=subpath
    )


def push(tag: Tag | str, destination: str | None = None, *, force: bool = False) -> None:
    """Upload a bento and its models, by the `ekiben` executable.

    ``destination`` is ``docker://REGISTRY/REPOSITORY:TAG``; without one, it is the cloud.
    """
    executable.push(get(tag), destination, force=force)


def pull(tag: Tag | str, *, force: bool = False) -> Bento:
    """Download a bento and its models into the store, by the `ekiben` executable.

    Instead of a tag of the cloud, ``tag`` may be where a registry has it: ``docker://REGISTRY/REPOSITORY:TAG``.
    """
    return get(executable.pull(BENTO, tag, force=force))
