"""``asgi_app``: mounting another web application. Declared today, refused when the service is described."""

from __future__ import annotations

from typing import Any, Callable, TypeVar

T = TypeVar("T")

# Where apps wait that were mounted below `@service`, on the plain class; upstream's name.
PENDING = "__bentoml_mounted_apps__"


def asgi_app(app: Any, *, path: str = "/", name: str | None = None) -> Callable[[T], T]:
    """Mount an ASGI application on the service, above or below ``@bentoml.service``."""

    def decorate(target: T) -> T:
        from .service import Service

        if isinstance(target, Service):
            target.mount_asgi_app(app, path=path, name=name)
        else:
            setattr(target, PENDING, [*getattr(target, PENDING, []), (app, path, name)])
        return target

    return decorate
