"""``bentoml.load``: the service that a target names, imported into this process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exceptions import BentoMLException, NotFound
from ..tag import Tag
from .loader import import_service

if TYPE_CHECKING:
    from ..bentos.bento import Bento

DEFAULT_MODULE = "service"


def load(bento_identifier: str | Tag | Bento, working_dir: str | None = None, **_: Any) -> Any:
    """Return the service of a bento, of a bento's or project's directory, or of an import string.

    The models of a bento are those that it was built with.
    """
    if not isinstance(bento_identifier, (str, os.PathLike)):
        return _of_bento(Path(_stored(bento_identifier)))
    text = os.fspath(bento_identifier)
    directory = Path(working_dir or ".", os.path.expanduser(text))
    if directory.is_dir():
        return _of_bento(directory) if (directory / "bento.yaml").exists() else _of_project(directory)
    name = text.partition(":")[0]
    module = Path(working_dir or ".", name if name.endswith(".py") else f"{name.replace('.', '/')}.py")
    if module.exists() or (module.with_suffix("") / "__init__.py").exists():
        return import_service(text, Path(working_dir or "."))
    try:
        stored = _stored(Tag.from_taglike(text))
    except (NotFound, ValueError, BentoMLException):
        return import_service(text, Path(working_dir or "."))
    return _of_bento(Path(stored))


def _stored(bento: Tag | Bento) -> str:
    from ..bentos import get

    return str((get(bento) if isinstance(bento, Tag) else bento).path)


def _of_project(directory: Path) -> Any:
    import yaml

    target = DEFAULT_MODULE
    bentofile = directory / "bentofile.yaml"
    if bentofile.exists():
        document = yaml.safe_load(bentofile.read_text(encoding="utf-8"))
        target = (document or {}).get("service") or target
    return import_service(target, directory)


def _of_bento(directory: Path) -> Any:
    from ..stores.home import serve_bento
    from ..worker.bento import ServedBento
    from .arguments import set_arguments
    from .service import Service

    bento = ServedBento.read(directory)
    serve_bento(bento.models_dir, bento.aliases)
    set_arguments(bento.arguments)
    service = import_service(bento.target, bento.working_dir)
    if isinstance(service, Service):
        bento.pin_models(service)
    service.bento = bento
    return service
