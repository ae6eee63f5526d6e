"""Units: runners and the services that a service depends on, each in workers of its own.

A unit is named ``runner:NAME`` or ``service:NAME``. The worker that clients' calls come to describes all of them; a
worker that is started with ``--unit`` runs one.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, Callable

from ..exceptions import ImportServiceError
from ..runners.batches import call_key, call_size
from ..runners.handle import RunnerHandle
from ..runners.strategy import scheduled_workers
from ..services import dependency
from .proxies import ServiceProxy
from .values import is_plain_array

if TYPE_CHECKING:
    from ..runners.method import RunnerMethod
    from ..runners.runner import Runner
    from ..services.service import Service
    from .invocations import Invocations

GPU = "nvidia.com/gpu"


class RemoteHandle(RunnerHandle):
    """The handle of a runner whose workers the front has started."""

    def __init__(self, runner: Runner, invocations: Invocations):
        self._unit = f"runner:{runner.name}"
        self._invocations = invocations

    async def is_ready(self, timeout: int) -> bool:  # noqa: ARG002 (calls wait for the workers by themselves)
        """Tell that calls can be made."""
        return True

    def run_method(self, method: RunnerMethod, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method from a thread."""
        arguments, merging = _prepared(method, args, kwargs)
        return self._invocations.call(self._unit, method.name, arguments, **merging)

    async def async_run_method(self, method: RunnerMethod, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method from the event loop."""
        arguments, merging = _prepared(method, args, kwargs)
        return await self._invocations.call_async(self._unit, method.name, arguments, **merging)

    async def async_stream_method(
        self, method: RunnerMethod, /, *args: Any, **kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        """Call a streaming method: what it yields, as text."""
        async for piece in self._invocations.stream_async(self._unit, method.name, (args, kwargs)):
            yield piece.decode("utf-8")


class RunnerUnit:
    """A runner as the calls of a worker see it: methods that take and give Python values."""

    threads = 1
    description = None

    def __init__(self, runner: Runner, batching: dict[str, Any] | None = None):
        """Make the unit; ``batching`` is what the configuration says of methods that say nothing themselves."""
        self.name = runner.name
        self.inner = runner.runnable_class
        self.models: list[Any] = []
        self.config: dict[str, Any] = {}
        self.envs: list[dict[str, str]] = []
        self.apis = {
            method.name: RunnableAPI(method, runner.runnable_class, batching or {}) for method in runner.runner_methods
        }
        self._params = runner.runnable_init_params

    @property
    def has_async_api(self) -> bool:
        """Whether any method runs on the event loop."""
        return any(method.is_async for method in self.apis.values())

    def __call__(self) -> Any:
        """Make the runnable."""
        return self.inner(**self._params)


class RunnableAPI:
    """A method of a runnable."""

    input_spec = None
    ctx_param = None
    is_task = False

    def __init__(self, method: RunnerMethod, runnable_class: type, batching: dict[str, Any]):
        marked = runnable_class.bentoml_runnable_methods__[method.name]  # type: ignore[attr-defined] (of Runnable)
        self.func: Callable[..., Any] = marked.func
        self.name = method.name
        self.route = f"/{method.name}"
        self.batchable = method.config.batchable and not method.config.is_stream and batching.get("enabled", True)
        self.batch_dim = method.config.batch_dim
        limits = {"max_batch_size": method.max_batch_size, "max_latency_ms": method.max_latency_ms}
        self.declared = {key: limits[key] for key in sorted(method.declared)}
        limits |= {key: value for key, value in batching.items() if key in limits and key not in method.declared}
        self.max_batch_size = limits["max_batch_size"]
        self.max_latency_ms = limits["max_latency_ms"]
        self.is_stream = method.config.is_stream
        self.is_async = inspect.iscoroutinefunction(self.func) or inspect.isasyncgenfunction(self.func)
        self.output_spec = TextPieces()


class TextPieces:
    """What a runner's stream consists of."""

    content_type = "text/plain; charset=utf-8"

    def encode_item(self, item: Any) -> bytes:
        """Return a piece: text as UTF-8, bytes as they are."""
        return item if isinstance(item, bytes) else str(item).encode("utf-8")


def attach_units(service: Any, invocations: Invocations, in_process: bool) -> None:
    """Let the calls of runners and dependencies go to their workers, or be made in this process."""
    for runner in runners_of(service):
        if in_process or runner.embedded:
            runner.init_local(quiet=True)
        else:
            runner.init_client(RemoteHandle, invocations)
    if not in_process:
        dependency.connect(lambda on: ServiceProxy(on, invocations))


def has_units(service: Any) -> bool:
    """Tell whether a service calls anything."""
    return bool(runners_of(service) or getattr(service, "dependencies", None))


def runners_of(service: Any) -> list[Runner]:
    """Return the runners of a service of the older model."""
    return list(getattr(service, "runners", None) or [])


def dependencies_of(service: Any) -> list[Service]:
    """Return the services that a service calls, and those that they call, after whoever calls them."""
    found: dict[str, Service] = {}
    waiting = [service]
    while waiting:
        for reference in getattr(waiting.pop(0), "dependencies", {}).values():
            if not reference.is_elsewhere:
                found.pop(reference.on.name, None)
                found[reference.on.name] = reference.on
                waiting.append(reference.on)
    return list(found.values())


def find_unit(service: Any, unit: str, batching: dict[str, Any] | None = None) -> Any:
    """Return what a worker started with ``--unit`` runs; ``batching`` is what is configured for a runner."""
    kind, _, name = unit.partition(":")
    if kind == "runner":
        for runner in runners_of(service):
            if runner.name == name:
                return RunnerUnit(runner, batching)
    elif kind == "service":
        for found in dependencies_of(service):
            if found.name == name:
                return found
    raise ImportServiceError(f"service `{service.name}` has no {kind} `{name}`")


def describe_units(service: Any, sections: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the member ``units`` of the description; ``sections`` is what the configuration says of runners."""
    from .description import describe_endpoint, slots_of

    described = []
    for runner in runners_of(service):
        if runner.embedded:
            continue
        unit = RunnerUnit(runner)
        described.append(
            {
                "kind": "runner",
                "name": unit.name,
                "config": {"batching": {method.name: method.declared for method in unit.apis.values()}},
                "slots": slots_of(unit),
                "endpoints": [describe_endpoint(method) for method in unit.apis.values()],
                "abilities": _abilities(unit.inner),
                "workers": scheduled_workers(runner, sections or {}),
            }
        )
    for found in dependencies_of(service):
        described.append(
            {
                "kind": "service",
                "name": found.name,
                "config": found.config,
                "slots": slots_of(found),
                "endpoints": [describe_endpoint(method) for method in found.apis.values()],
            }
        )
    return described


def _abilities(runnable: Any) -> dict[str, bool]:
    return {
        "gpu": GPU in getattr(runnable, "SUPPORTED_RESOURCES", ()),
        "threads": bool(getattr(runnable, "SUPPORTS_CPU_MULTI_THREADING", False)),
    }


def _prepared(method: RunnerMethod, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the arguments as they travel, and what the front must know to merge them with others."""
    if not method.config.batchable:
        return (args, kwargs), {}
    dim = method.config.batch_dim[0]
    merging: dict[str, Any] = {"rows": call_size(args, kwargs, dim)}
    key = call_key(args, kwargs, dim)
    if key is not None:
        merging["key"] = repr(key)
    if dim == 0 and key is not None and len(args) == 1 and not kwargs and is_plain_array(args[0]):
        return args[0], merging
    return (args, kwargs), merging
