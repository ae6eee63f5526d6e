"""``depends``: a reference from one service to another. Declared today, refused when the service is described."""

from __future__ import annotations

from typing import Any, NoReturn

from ..exceptions import BentoMLException
from ..unsupported import NotSupportedYet


class Dependency:
    """A class-level reference to another service, by object, URL or deployment."""

    def __init__(
        self,
        on: Any = None,
        *,
        url: str | None = None,
        deployment: str | None = None,
        cluster: str | None = None,
    ):
        self.on = on
        self.url = url
        self.deployment = deployment
        self.cluster = cluster

    def __get__(self, instance: Any, owner: type) -> Dependency:
        if instance is None:
            return self
        raise NotSupportedYet("bentoml.depends")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError("Dependency must be accessed as a class attribute")


def depends(
    on: Any = None,
    *,
    url: str | None = None,
    deployment: str | None = None,
    cluster: str | None = None,
) -> Any:
    """Declare that a service calls another one."""
    from .service import Service

    if on is None and url is None and deployment is None:
        raise ValueError("Must specify at least one of on, deployment or url")
    if on is not None and not isinstance(on, Service):
        raise TypeError("depends() expects a class decorated with @bentoml.service()")
    if url is not None and deployment is not None:
        raise BentoMLException("Cannot specify both deployment and url")
    return Dependency(on, url=url, deployment=deployment, cluster=cluster)
