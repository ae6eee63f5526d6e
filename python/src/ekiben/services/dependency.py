"""``depends``: a reference from one service to another, which runs in workers of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, NoReturn

from ..exceptions import BentoMLException

if TYPE_CHECKING:
    from .service import Service

# How a dependency is reached; without it the other service is made in this process.
_connect: Callable[[Service], Any] | None = None


def connect(reach: Callable[[Service], Any] | None) -> None:
    """Let all dependencies be what ``reach`` makes of the service; called by a worker before it constructs its own."""
    global _connect
    _connect = reach


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
        self._reached: Any = None

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        if self._reached is None:
            self._reached = self._reach()
        return self._reached

    def _reach(self) -> Any:
        if self.deployment is not None and self.url is not None:
            raise BentoMLException("Cannot specify both deployment and url")
        if not self.is_elsewhere:
            return self.on() if _connect is None else _connect(self.on)
        from ..clients.remote import RemoteService

        url = self.url
        if self.deployment is not None:
            from ..clients.deployments import deployment_url

            url = deployment_url(self.deployment, self.cluster)
        return RemoteService(str(url), self.on)

    @property
    def is_elsewhere(self) -> bool:
        """Whether the service runs somewhere else: not beside the one that calls it."""
        return self.url is not None or self.deployment is not None

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
