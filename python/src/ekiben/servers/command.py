"""The command line of a server: which program, which service, which options."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from ..exceptions import BentoMLException, InvalidArgument, MissingDependencyException
from ..stores.executable import NAME, find
from ..tag import Tag

if TYPE_CHECKING:
    from ..bentos.bento import Bento
    from ..legacy.service import Service as RunnerService
    from ..services.service import Service

    Servable = Union[str, Bento, Tag, Service, RunnerService]

# What images have instead of the whole tool.
FRONT = "ekiben-serve"
HERE = "."
MAIN = "__main__"


def command(servable: Servable, working_dir: str | None, options: dict[str, Any]) -> list[str]:
    """Return the command that serves; options are those of ``ekiben serve`` with underscores, True is a flag."""
    target, directory = _target(servable, working_dir)
    words = [_program(), "serve", target, "--python", sys.executable]
    if directory is not None:
        words += ["--working-dir", directory]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            words += [option, str(value)]
    return words


def _program() -> str:
    found = find() or shutil.which(FRONT)
    if found is None:
        raise MissingDependencyException(
            f"cannot serve: this is done by the `{NAME}` executable, which is neither beside this Python nor in PATH; "
            f"install it with `cargo install {NAME}`, or put it into a directory of PATH"
        )
    return found


def _target(servable: Any, working_dir: str | None) -> tuple[str, str | None]:
    """Return what to serve, and in which directory it is imported."""
    if isinstance(servable, (str, os.PathLike)):
        return os.fspath(servable), None if working_dir in (None, HERE) else str(working_dir)
    if isinstance(servable, Tag):
        return str(servable), None
    if isinstance(getattr(servable, "tag", None), Tag):  # a bento; a service has one, but no tag
        return str(servable.tag), None
    if hasattr(servable, "import_string"):
        return _origin(servable)
    raise InvalidArgument(
        f"a value of type `{type(servable).__name__}` cannot be served: give a service, a bento or its tag, a "
        "directory, or an import string such as `service:Main`"
    )


def _origin(service: Any) -> tuple[str, str]:
    """Return where a worker finds a service that was defined in this process."""
    module, _, attribute = service.import_string.partition(":")
    directory = str(service.working_dir)
    if module != MAIN:
        return f"{module}:{attribute}", directory
    path = getattr(sys.modules[MAIN], "__file__", None)
    if path is None:
        raise BentoMLException(
            f"service `{service.name}` was defined in a console or notebook, where workers cannot import it from: put "
            "it into a file"
        )
    script = Path(path).resolve()
    root = Path(directory).resolve()
    if root not in script.parents:
        root = script.parent
    return f"{script.relative_to(root)}:{attribute}", str(root)
