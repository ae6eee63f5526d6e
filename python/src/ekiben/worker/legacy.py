"""Old-style services in the worker: what is described of them, their start and end, and how their APIs are called."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any, Callable

from ..exceptions import BentoMLException
from ..legacy.openapi import service_openapi
from .answers import Answer, checked_status, json_answer
from .calls import Calls, apply_context
from .description import slots_of
from .frames import PROTOCOL
from .metrics import has_user_metrics
from .mounts import describe_mounts
from .streams import send_async_stream, send_stream
from .units import describe_units

if TYPE_CHECKING:
    from ..legacy.api import InferenceAPI
    from ..legacy.service import Service
    from .calls import Call

logger = logging.getLogger("bentoml.serve")

# How the front knows that a service is of this style.
STYLE = "legacy"

FAILED = "An error has occurred in BentoML user code when handling this request, find the error details in server logs"


def describe_frame(service: Service, import_string: str, runners: dict[str, Any]) -> dict[str, Any]:
    """Return the ``describe`` frame of an old-style service; ``runners`` is the configuration's section."""
    return {
        "type": "describe",
        "protocol": PROTOCOL,
        "service": {
            "name": service.name,
            "style": STYLE,
            "import_string": import_string,
            "description": None,
            "path_prefix": "",
            "config": {},
            "slots": slots_of(service),
            "endpoints": [*map(_endpoint, service.apis.values()), *describe_mounts(service)],
            "models": [str(model.tag) for model in service.all_models],
            "schema": None,
            "openapi": service_openapi(service),
            "user_metrics": has_user_metrics(type(service)),
            "units": describe_units(service, runners),
            "middlewares": bool(service.middlewares),
        },
    }


def _endpoint(api: InferenceAPI) -> dict[str, Any]:
    return {
        "name": api.name,
        "route": api.path,
        "is_task": False,
        "is_stream": api.is_stream,
        "batchable": False,
        "batch_dim": [0, 0],
        "max_batch_size": 1,
        "max_latency_ms": 0,
        "batch": None,
    }


async def run_hooks(kind: str, hooks: list[Callable[[], Any]]) -> None:
    """Run the hooks of a kind, in the order in which they were declared."""
    for hook in hooks:
        function = getattr(hook, "func", hook)
        logger.info("Running %s hook: %s", kind, getattr(function, "__name__", function))
        result = hook()
        if inspect.isawaitable(result):
            await result


async def stop(service: Service) -> None:
    """Run the hooks of the end, then let the runners go."""
    try:
        await run_hooks("shutdown", service.shutdown_hooks)
    finally:
        for runner in service.runners:
            runner.destroy()


class LegacyCalls(Calls):
    """The calls of an old-style service: functions instead of methods, and upstream's older errors."""

    def _reading_blocks(self, method: Any) -> bool:  # noqa: ARG002 (an old API has no types to ask)
        return False

    def _arguments(self, call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return call.method.arguments(call.request, self._service.context)

    def _invoke(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return call.method.func(*args, **kwargs)

    def _answer(self, call: Call, value: Any) -> None:
        if inspect.isgenerator(value):
            send_stream(self._channel, call, value)
        elif inspect.isasyncgen(value):
            # On a thread: an asynchronous function's generator never comes here.
            stream = send_async_stream(self._channel, call, value)
            asyncio.run_coroutine_threadsafe(stream, self._loop).result()
        else:
            self._answer_value(call, value)

    def _answer_value(self, call: Call, value: Any) -> None:
        encoded = call.method.output.encode(value)
        self._send(call.id, apply_context(call, Answer(200, encoded.headers, encoded.body)))

    def _error_answer(self, error: BaseException) -> Answer:
        """Return the answer to an exception: a JSON text."""
        if not isinstance(error, BentoMLException):
            return json_answer(500, FAILED)
        status = checked_status(error.error_code)
        if status in (401, 403) or status >= 500:
            return json_answer(status, "")
        return json_answer(status, f"BentoService error handling API request: {error}")
