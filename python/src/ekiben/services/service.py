"""``Service``: what ``@bentoml.service`` makes of a class."""

from __future__ import annotations

import logging
import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..apis.method import APIMethod
from ..context import Context
from ..exceptions import BentoMLException
from .dependency import Dependency
from .mounts import PENDING, Mount

if TYPE_CHECKING:
    from ..models.references import ModelReference
    from ..servers.server import Server

logger = logging.getLogger("bentoml.serve")


class Service:
    """A service: the user's class, its APIs, models and configuration. Calling it makes an instance of the class.

    Without a class, ``bentoml.Service("name", runners=[...])`` is an old-style one, of ``bentoml.legacy``.
    """

    if not TYPE_CHECKING:  # what a type checker would take for the class's own signature

        def __new__(cls, *args: Any, **options: Any) -> Any:
            """Make an old-style service of the arguments of one."""
            # `inner` is the third argument; a copy is made without any.
            if cls is Service and (args or options) and len(args) < 3 and "inner" not in options:
                from ..legacy.service import Service as RunnerService

                return RunnerService(*args, **options)
            return super().__new__(cls)

    def __init__(
        self,
        name: str,
        config: dict[str, Any] | None = None,
        inner: type | None = None,
        image: Any = None,
        description: str | None = None,
        path_prefix: str | None = None,
        envs: list[dict[str, str]] | None = None,
        labels: dict[str, str] | None = None,
        models: list[Any] | None = None,
        cmd: list[str] | None = None,
    ):
        if inner is None:
            raise TypeError(f"service `{name}` has no class: `inner` is missing")
        self.name = name
        self.config = dict(config or {})
        self.inner = inner
        self.image = image
        self.description = description
        self.path_prefix = _clean_prefix(path_prefix)
        self.envs = list(envs or [])
        self.labels = dict(labels or {})
        self.cmd = cmd
        self.bento: Any = None
        self.models: list[ModelReference] = list(models or [])
        self.apis: dict[str, APIMethod] = {}
        self.dependencies: dict[str, Dependency] = {}
        self.mount_apps: list[Mount] = []
        for app, path, mount_name in getattr(inner, PENDING, []):
            self.mount_asgi_app(app, path, mount_name)
        self.middlewares: list[tuple[Any, dict[str, Any]]] = []
        self.context = Context()
        self.working_dir = os.getcwd()
        self._module = inner.__module__
        self._collect_members()

    def _collect_members(self) -> None:
        """Find APIs, models and dependencies among the class's attributes, inherited ones too, by name."""
        from ..models.model import Model
        from ..models.references import BentoModel, ModelReference

        for name in dir(self.inner):
            value = getattr(self.inner, name, None)
            if isinstance(value, APIMethod):
                self.apis[name] = value
            elif isinstance(value, Dependency):
                self.dependencies[name] = value
            elif isinstance(value, ModelReference):
                self.models.append(value)
            elif isinstance(value, Model):
                logger.warning(
                    "`bentoml.models.get()` as the class attribute is not recommended because it requires the model "
                    "to exist at import time. Use `%s = BentoModel(%r)` instead.",
                    name,
                    str(value.tag),
                )
                self.models.append(BentoModel(value.tag))

    def __call__(self) -> Any:
        """Make an instance in this process, as unit tests do."""
        from .local import AsyncCalls, SyncCalls

        instance = self.inner()
        instance.to_sync = SyncCalls(instance, self.apis)
        instance.to_async = AsyncCalls(instance, self.apis)
        instance.bento_service = self
        return instance

    def __repr__(self) -> str:
        return f"<Service name={self.name!r}>"

    @property
    def doc(self) -> str:
        """What the service says about itself."""
        import inspect

        return self.description or inspect.cleandoc(self.inner.__doc__ or "") or f"Service {self.name}."

    @property
    def threads(self) -> int:
        """How many synchronous calls one worker runs at a time."""
        threads = self.config.get("threads", 1)
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise BentoMLException(f"`threads` of service `{self.name}` must be an integer above 0, not {threads!r}")
        return threads

    @property
    def has_async_api(self) -> bool:
        """Whether any API runs on the event loop."""
        return any(method.is_async for method in self.apis.values())

    @property
    def has_custom_command(self) -> bool:
        """Whether a program of its own answers clients."""
        return self.cmd is not None or hasattr(self.inner, "__command__")

    @cached_property
    def import_string(self) -> str:
        """``module:attribute`` of the service in the module that defines it."""
        module = sys.modules.get(self._module)
        for name, value in vars(module).items() if module else ():
            if value is self:
                return f"{self._module}:{name}"
        raise BentoMLException(f"service `{self.name}` must be assigned to a variable of its module to be served")

    def all_services(self, exclude_urls: bool = False) -> dict[str, Service]:
        """Return this service and those it depends on, by name; without those that run elsewhere if so asked."""
        services = {self.name: self}
        for dependency in self.dependencies.values():
            if dependency.on is not None and not (exclude_urls and dependency.is_elsewhere):
                services.update(dependency.on.all_services(exclude_urls))
        return services

    def full_route(self, method: APIMethod) -> str:
        """Return the path under which clients call an API."""
        return self.prefixed(method.route)

    def prefixed(self, path: str) -> str:
        """Return ``path`` under the service's prefix."""
        return f"{self.path_prefix}{path}"

    def schema(self) -> dict[str, Any]:
        """Return the document ``/schema.json``."""
        from ..apis.schema import service_schema

        return service_schema(self)

    def openapi_spec(self, bento_version: str | None = None) -> dict[str, Any]:
        """Return the document ``/docs.json``."""
        from ..apis.openapi import service_openapi

        return service_openapi(self, bento_version)

    def serve_http(
        self,
        *,
        working_dir: str | None = None,
        port: int | None = None,
        host: str | None = None,
        backlog: int | None = None,
        timeout: float | None = None,
        development_mode: bool = False,
        reload: bool = False,
        threaded: bool = False,
        **ssl: Any,
    ) -> Server:
        """Serve this service until Ctrl-C; with ``threaded``, return the running server at once.

        ``ssl`` are ``ssl_certfile``, ``ssl_keyfile`` and the other options of TLS.
        """
        from ..servers.command import command
        from ..servers.server import Server

        unknown = next((name for name in ssl if not name.startswith("ssl_")), None)
        if unknown is not None:
            raise TypeError(f"serve_http() has no option `{unknown}`")
        options = {"port": port, "host": host, "backlog": backlog, "timeout": timeout, "reload": reload}
        words = command(self, None, {**options, "development": development_mode, **ssl})
        if working_dir is not None:
            words[words.index("--working-dir") + 1] = str(working_dir)
        server = Server(words, own_terminal=not development_mode)
        if not threaded:
            server.wait()
        return server

    def mount_asgi_app(self, app: Any, path: str = "/", name: str | None = None) -> None:
        """Mount an ASGI application below a path."""
        self.mount_apps.append(Mount(app, f"{self.path_prefix}{_clean_prefix(path)}", name))

    def mount_wsgi_app(self, app: Any, path: str = "/", name: str | None = None) -> None:
        """Mount a WSGI application below a path."""
        from .wsgi import WsgiApplication

        self.mount_asgi_app(WsgiApplication(app), path, name)

    def add_asgi_middleware(self, middleware_cls: Any, **options: Any) -> None:
        """Let a middleware stand around all APIs and mounted applications; the first one is the outermost."""
        self.middlewares.append((middleware_cls, options))


def _clean_prefix(prefix: str | None) -> str:
    """Return a prefix with a leading slash and without a trailing one; an empty one stays empty."""
    stripped = (prefix or "").strip("/")
    return f"/{stripped}" if stripped else ""
