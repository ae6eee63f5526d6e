"""``Service``: an old-style service, to which functions are added as APIs by ``@svc.api(input=…, output=…)``."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, NoReturn, TypeVar

from ..context import Context
from ..exceptions import BentoMLException
from ..tag import validate_tag_str
from ..unsupported import NotSupportedYet
from .api import InferenceAPI

if TYPE_CHECKING:
    from ..descriptors.base import IODescriptor
    from ..models.model import Model
    from ..runners.runner import Runner
    from ..services.mounts import Mount
    from ..tag import Tag

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

# How many synchronous calls one worker runs at a time: those of the thread pool that upstream runs them on.
THREADS = 40


class Service:
    """A service of the runner model: a name, the runners that its functions call, and its models."""

    def __init__(self, name: str, *, runners: list[Runner] | None = None, models: list[Model] | None = None):
        self.name = _checked_name(name)
        self.runners: list[Runner] = _checked_runners(runners or [])
        self.models: list[Model] = _checked_models(models or [])
        self.apis: dict[str, InferenceAPI] = {}
        self.mount_apps: list[Mount] = []
        self.middlewares: list[tuple[Any, dict[str, Any]]] = []
        self.context = Context()
        self.bento: Any = None
        self.startup_hooks: list[Callable[[], Any]] = []
        self.shutdown_hooks: list[Callable[[], Any]] = []
        self.deployment_hooks: list[Callable[[], Any]] = []
        self.threads = THREADS
        self.working_dir = os.getcwd()
        self._module = _calling_module()
        self._import_string: str | None = None

    def api(
        self,
        input: IODescriptor,  # noqa: A002 (upstream's name)
        output: IODescriptor | None = None,
        *,
        name: str | None = None,
        doc: str | None = None,
        route: str | None = None,
    ) -> Callable[[F], F]:
        """Make a function callable by clients. It stays the function that it is.

        Without ``output`` the function's annotation says what it returns, else the returned value itself.
        """

        def decorate(func: F) -> F:
            api = InferenceAPI(func, input, output, name=name, doc=doc, route=route)
            if api.name in self.apis:
                raise BentoMLException(f"API {api.name} is already defined in Service {self.name}")
            self.apis[api.name] = api
            return func

        return decorate

    def on_startup(self, func: F) -> F:
        """Call the function with the context in every worker, before it takes calls."""
        self.startup_hooks.append(partial(func, self.context))
        return func

    def on_shutdown(self, func: F) -> F:
        """Call the function with the context in every worker, when it stops."""
        self.shutdown_hooks.append(partial(func, self.context))
        return func

    def on_deployment(self, func: F) -> F:
        """Call the function once, before any worker takes calls."""
        self.deployment_hooks.append(func)
        return func

    @property
    def tag(self) -> Tag | None:
        """The tag of the bento that the service was loaded from."""
        from ..tag import Tag

        return None if self.bento is None else Tag(self.bento.name, self.bento.version)

    @property
    def doc(self) -> str:
        """What the service says about itself."""
        return f"Service {self.name}."

    @property
    def has_async_api(self) -> bool:
        """Whether any API runs on the event loop."""
        return any(api.is_async for api in self.apis.values())

    @property
    def all_models(self) -> list[Model]:
        """The service's models, and those of its runners."""
        models = [*self.models, *(model for runner in self.runners for model in runner.models)]
        return list({str(model.tag): model for model in models}.values())

    @property
    def import_string(self) -> str:
        """``module:attribute`` of the service in the module that made it."""
        if self._import_string is None:
            module = sys.modules.get(self._module)
            name = next((name for name, value in vars(module).items() if value is self), None) if module else None
            if name is None:
                raise BentoMLException(
                    f"service `{self.name}` must be assigned to a variable of its module to be served"
                )
            self._import_string = f"{self._module}:{name}"
        return self._import_string

    @import_string.setter
    def import_string(self, value: str) -> None:
        self._import_string = value

    def get_service_import_origin(self) -> tuple[str, str]:
        """Return the import string and the directory that it is relative to."""
        return self.import_string, self.working_dir

    @property
    def openapi_spec(self) -> dict[str, Any]:
        """The document ``/docs.json``."""
        from .openapi import service_openapi

        return service_openapi(self)

    async def __is_ready__(self) -> bool:
        """Tell whether every runner takes calls; the front asks for it."""
        import asyncio

        return all(await asyncio.gather(*(runner.runner_handle_is_ready() for runner in self.runners)))

    @property
    def asgi_app(self) -> NoReturn:
        """Refuse: nothing but the front serves a service."""
        self._refuse("asgi_app")

    def mount_asgi_app(self, app: Any, path: str = "/", name: str | None = None) -> None:
        """Mount an ASGI application below a path."""
        from ..services.mounts import Mount

        stripped = path.strip("/")
        self.mount_apps.append(Mount(app, f"/{stripped}" if stripped else "", name))

    def mount_wsgi_app(self, app: Any, path: str = "/", name: str | None = None) -> None:
        """Mount a WSGI application below a path."""
        from ..services.wsgi import WsgiApplication

        self.mount_asgi_app(WsgiApplication(app), path, name)

    def add_asgi_middleware(self, middleware_cls: Any, **options: Any) -> None:
        """Let a middleware stand around all APIs and mounted applications; the first one is the outermost."""
        self.middlewares.append((middleware_cls, options))

    def mount_grpc_servicer(self, *args: Any, **options: Any) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        self._refuse("mount_grpc_servicer")

    def add_grpc_interceptor(self, interceptor_cls: Any, **options: Any) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        self._refuse("add_grpc_interceptor")

    def add_grpc_handlers(self, handlers: Any) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        self._refuse("add_grpc_handlers")

    def _refuse(self, name: str) -> NoReturn:
        raise NotSupportedYet(f"Service.{name}", f"in service `{self.name}`")

    def __repr__(self) -> str:
        runners = ", ".join(runner.name for runner in self.runners)
        return f'bentoml.Service(name="{self.name}", runners=[{runners}])'


def _checked_name(name: str) -> str:
    lowered = name.lower()
    if lowered != name:
        logger.warning("Converting %s to lowercase: %s.", name, lowered)
    validate_tag_str(lowered)
    return lowered


def _checked_runners(runners: list[Any]) -> list[Runner]:
    from ..runners.runner import Runner

    names = set()
    for runner in runners:
        if not isinstance(runner, Runner):
            raise AssertionError(
                f'Service runners list can only contain bentoml.legacy.Runner instances, type "{type(runner)}" found.'
            )
        if runner.name in names:
            raise ValueError(f"Found duplicate name `{runner.name}` in service runners.")
        names.add(runner.name)
    return list(runners)


def _checked_models(models: list[Any]) -> list[Model]:
    from ..models.model import Model

    for model in models:
        if not isinstance(model, Model):
            raise AssertionError(
                f'Service models list can only contain bentoml.Model instances, type "{type(model)}" found.'
            )
    return list(models)


def _calling_module() -> str:
    """Return the module that makes the service, past the frames of the SDK itself."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "ekiben":
        frame = frame.f_back
    return "__main__" if frame is None else frame.f_globals.get("__name__", "__main__")
