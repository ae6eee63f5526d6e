"""``Probes``: health checks and metrics, answered beside the calls."""

from __future__ import annotations

import asyncio
import inspect
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from .metrics import user_metrics

if TYPE_CHECKING:
    from .channel import Channel
    from .frames import Frame

logger = logging.getLogger("bentoml.serve")


class Probes:
    """Health checks and metrics: what the front asks about the instance itself."""

    METHODS = {  # noqa: RUF012 (a table)
        "ready": ("__is_ready__", "Service is not ready because .__is_ready__() returns False."),
        "alive": ("__is_alive__", "Service is dead because .__is_alive__() returns False."),
    }

    def __init__(self, instance: Any, channel: Channel):
        self._instance = instance
        self._channel = channel
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, loop: asyncio.AbstractEventLoop, frame: Frame) -> None:
        """Answer a ``probe``."""
        self._start(loop, self._probe(frame.header["id"], frame.header.get("what", "ready")))

    def measure(self, loop: asyncio.AbstractEventLoop, frame: Frame) -> None:
        """Answer a ``metrics``."""
        self._start(loop, self._measure(frame.header["id"]))

    async def finished(self) -> None:
        """Wait for the answers under way."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def _start(self, loop: asyncio.AbstractEventLoop, work: Any) -> None:
        task = loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _probe(self, probe_id: int, what: str) -> None:
        name, refusal = self.METHODS[what if what in self.METHODS else "ready"]
        check = getattr(self._instance, name, None)
        try:
            ok = True if check is None else bool(await _off_loop(check))
            message = None if ok else refusal
        except Exception as error:
            logger.exception("%s failed", name)
            ok, message = False, f"{name} raised {type(error).__name__}: {error}"
        self._channel.send({"type": "probed", "id": probe_id, "ok": ok, "message": message})

    async def _measure(self, measure_id: int) -> None:
        try:
            text = await _off_loop(user_metrics)
            process = getattr(self._instance, "__metrics__", None)
            if process is not None:
                text = await _off_loop(partial(process, text))
        except Exception:
            logger.exception("collecting metrics failed")
            text = ""
        self._channel.send({"type": "measured", "id": measure_id}, text.encode("utf-8"))


async def _off_loop(function: Any) -> Any:
    """Call a function in a thread, or await it when it is asynchronous."""
    inner = function.func if isinstance(function, partial) else function
    if inspect.iscoroutinefunction(inner):
        return await function()
    return await asyncio.get_running_loop().run_in_executor(None, function)
