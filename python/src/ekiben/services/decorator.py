"""``@bentoml.service``."""

from __future__ import annotations

from typing import Any

from .service import Service


def service(
    inner: type | None = None,
    /,
    *,
    name: str | None = None,
    image: Any = None,
    description: str | None = None,
    path_prefix: str | None = None,
    envs: list[dict[str, str]] | None = None,
    labels: dict[str, str] | None = None,
    cmd: list[str] | None = None,
    service_class: type[Service] = Service,
    **config: Any,
) -> Any:
    """Make a class a service. Used plain, or with arguments; other keywords are the service's configuration."""

    def decorate(inner: type) -> Service:
        if isinstance(inner, Service):
            raise TypeError("service() decorator can only be applied once")
        return service_class(
            name=name or inner.__name__,
            config=config,
            inner=inner,
            image=image,
            description=description,
            path_prefix=path_prefix,
            envs=envs,
            labels=labels,
            cmd=cmd,
        )

    if inner is None:
        return decorate
    return decorate(inner)
