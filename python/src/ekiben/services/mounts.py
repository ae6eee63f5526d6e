"""Mounted web applications: ``asgi_app``, and which application answers a path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable, TypeVar

T = TypeVar("T")

# Where apps wait that were mounted below `@service`, on the plain class; upstream's name.
PENDING = "__bentoml_mounted_apps__"


@dataclass(frozen=True)
class Mount:
    """An ASGI application below a path, which begins with a slash and does not end with one; empty for the root."""

    app: Any
    path: str
    name: str | None = None

    def claims(self, scope: dict[str, Any]) -> bool:
        """Tell whether the application answers the scope's path: one of starlette only where it has a route."""
        if not scope["path"].startswith(f"{self.path}/"):
            return False
        if not is_starlette(self.app):
            return True
        inner = self.scope(scope)
        return any(route.matches(inner)[0].value for route in self.app.routes)

    def scope(self, scope: dict[str, Any]) -> dict[str, Any]:
        """Return the scope as the application sees it."""
        return {**scope, "root_path": self.path}

    def routes(self) -> Iterator[str]:
        """Yield the paths of the application's routes, as far as they can be known."""
        yield from _paths(self.app, self.path, set())


def asgi_app(app: Any, *, path: str = "/", name: str | None = None) -> Callable[[T], T]:
    """Mount an ASGI application on the service, above or below ``@bentoml.service``."""

    def decorate(target: T) -> T:
        from .service import Service

        if isinstance(target, Service):
            target.mount_asgi_app(app, path=path, name=name)
            bind_class_views(app, target.inner)
        else:
            setattr(target, PENDING, [*getattr(target, PENDING, []), (app, path, name)])
            bind_class_views(app, target)  # type: ignore[arg-type] (the class of a service)
        return target

    return decorate


def is_starlette(app: Any) -> bool:
    """Recognise applications of starlette and FastAPI, which need not be installed."""
    return _has_base(type(app), "starlette.applications", "Starlette")


def is_fastapi(app: Any) -> bool:
    """Recognise applications of FastAPI."""
    return _has_base(type(app), "fastapi.applications", "FastAPI")


def bind_class_views(app: Any, cls: type) -> None:
    """Give the routes that stand in the body of the service's class the service's instance as ``self``."""
    if not is_fastapi(app):
        return
    from fastapi import APIRouter
    from fastapi.routing import APIRoute, APIWebSocketRoute

    methods = {id(member) for member in vars(cls).values() if callable(member)}
    own = [
        route
        for route in app.routes
        if isinstance(route, (APIRoute, APIWebSocketRoute)) and id(route.endpoint) in methods
    ]
    if not own:
        return
    router = APIRouter()
    for route in own:
        app.routes.remove(route)
        _inject_instance(route.endpoint)
        router.routes.append(route)
    app.include_router(router)  # reads the signatures again


def _inject_instance(endpoint: Any) -> None:
    import inspect

    from fastapi import Depends

    from ..exceptions import BentoMLException
    from .current import get_current_service

    signature = inspect.signature(endpoint)
    parameters = list(signature.parameters.values())
    if not parameters:
        raise BentoMLException("FastAPI class views must have at least one parameter")
    instance = parameters[0].replace(default=Depends(get_current_service))
    rest = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters[1:]]
    endpoint.__signature__ = signature.replace(parameters=[instance, *rest])


def _has_base(kind: type, module: str, name: str) -> bool:
    return any(base.__module__ == module and base.__name__ == name for base in kind.__mro__)


def _paths(app: Any, prefix: str, seen: set[int]) -> Iterator[str]:
    if app is None or id(app) in seen or not is_starlette(app):
        return
    seen.add(id(app))
    for route in app.routes:
        path = getattr(route, "path", None)
        if isinstance(path, str):
            full = f"{prefix}/{path.lstrip('/')}"
            yield full
            yield from _paths(getattr(route, "app", None), full.rstrip("/"), seen)
