"""Finding a service by its import string: ``module:attribute``, ``file.py:attribute``, or a module with one service."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Union

from ..exceptions import ImportServiceError
from ..legacy.service import Service as RunnerService
from ..unsupported import NotSupportedYet
from .service import Service

AnyService = Union[Service, RunnerService]


def import_service(target: str, working_dir: Path) -> AnyService:
    """Import the user's module, relative to ``working_dir``, and return the service that ``target`` names."""
    name, _, attribute = target.partition(":")
    root = os.fspath(working_dir.resolve())
    if root not in sys.path:
        sys.path.insert(0, root)
    module = import_module(_module_name(name, working_dir))
    if not attribute:
        return _only_service(module, target)
    found: Any = module
    for part in attribute.split("."):
        if isinstance(found, (Service, RunnerService)):
            raise NotSupportedYet(target, "a service inside another one, through `bentoml.depends`")
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ImportServiceError(
                f"module `{module.__name__}` has no attribute `{part}` (from `{target}`)"
            ) from None
    service = _checked(found, target)
    service.import_string = f"{module.__name__}:{attribute}"
    return service


def _module_name(name: str, working_dir: Path) -> str:
    if not name.endswith(".py"):
        return name
    path = Path(name)
    try:
        relative = path.relative_to(working_dir.resolve()) if path.is_absolute() else path
    except ValueError:
        raise ImportServiceError(f"`{name}` is not inside the working directory `{working_dir}`") from None
    if ".." in relative.parts:
        raise ImportServiceError(f"`{name}` is not inside the working directory `{working_dir}`")
    return ".".join(relative.with_suffix("").parts)


def _only_service(module: ModuleType, target: str) -> AnyService:
    """Return the service of a module that no other service of it depends on; else its only old-style one."""
    remaining = _independent_services(module) or _instances(module, RunnerService)
    if len(remaining) == 1:
        name = next(name for name, value in vars(module).items() if value is remaining[0])
        remaining[0].import_string = f"{module.__name__}:{name}"
        return remaining[0]
    if remaining:
        names = ", ".join(
            f"`{target}:{name}`"
            for name, value in vars(module).items()
            if any(value is service for service in remaining)
        )
        raise ImportServiceError(f"module `{module.__name__}` has several services, name one: {names}")
    foreign = next((value for value in vars(module).values() if _is_upstream(value)), None)
    if foreign is not None:
        _checked(foreign, target)
    raise ImportServiceError(
        f"module `{module.__name__}` has no service: no class in it has `@bentoml.service`, and no variable is a "
        "`bentoml.Service`"
    )


def _independent_services(module: ModuleType) -> list[Any]:
    services = _instances(module, Service)
    used = {
        id(dependency.on)
        for service in services
        for dependency in service.dependencies.values()
        if dependency.on is not None
    }
    return [service for service in services if id(service) not in used]


def _instances(module: ModuleType, kind: type) -> list[Any]:
    return list({id(value): value for value in vars(module).values() if isinstance(value, kind)}.values())


def _checked(found: Any, target: str) -> AnyService:
    if isinstance(found, (Service, RunnerService)):
        return found
    if _is_upstream(found):
        raise ImportServiceError(
            f"`{target}` is a service of the upstream package `bentoml`, which is installed in this environment and "
            "takes precedence over the SDK: remove `bentoml` from the service's Python packages"
        )
    raise ImportServiceError(f"`{target}` is not a service but an object of type `{type(found).__name__}`")


def _is_upstream(value: Any) -> bool:
    return any(
        base.__module__.partition(".")[0] == "_bentoml_sdk" or base.__module__ == "bentoml._internal.service.service"
        for base in type(value).__mro__
    )
