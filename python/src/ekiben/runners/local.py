"""``LocalHandle``: a runner inside of this process, for tests, notebooks and scripts."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Callable

from .batches import call_size
from .handle import RunnerHandle

if TYPE_CHECKING:
    from .method import RunnerMethod
    from .runner import Runner

# What a generator without a further value gives: `StopIteration` itself cannot leave a future.
_END = object()


class LocalHandle(RunnerHandle):
    """Calls the runnable directly: ``run`` on the caller's thread, asynchronous calls one after another on one."""

    def __init__(self, runner: Runner):
        self._runnable = runner.runnable_class(**runner.runnable_init_params)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"runner-{runner.name}")

    async def is_ready(self, timeout: int) -> bool:  # noqa: ARG002 (the runnable is there)
        """Tell that the runnable is there."""
        return True

    def run_method(self, method: RunnerMethod, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method; a batchable one only with arguments that one batch could be made of."""
        if method.config.batchable:
            call_size(args, kwargs, method.config.batch_dim[0])
        result = self._bound(method)(*args, **kwargs)
        # On the other thread, as there may be a loop running on this one.
        return self._thread.submit(asyncio.run, result).result() if inspect.iscoroutine(result) else result

    async def async_run_method(self, method: RunnerMethod, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method on the runner's thread; an ``async def`` one on the caller's loop."""
        result = await self._on_thread(functools.partial(self._bound(method), *args, **kwargs))
        return await result if inspect.iscoroutine(result) else result

    def async_stream_method(self, method: RunnerMethod, /, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """Return the method's own asynchronous generator, or what its generator yields on the runner's thread."""
        values = self._bound(method)(*args, **kwargs)
        return values if inspect.isasyncgen(values) else self._iterate(values)

    def close(self) -> None:
        """Take no further asynchronous calls; those under way end as usual."""
        self._thread.shutdown(wait=False)

    def _bound(self, method: RunnerMethod) -> Callable[..., Any]:
        return getattr(self._runnable, method.name)

    async def _on_thread(self, call: Callable[[], Any]) -> Any:
        """Run a call on the runner's thread, with the context variables of the caller."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._thread, context.run, call)

    async def _iterate(self, values: Iterator[Any]) -> AsyncGenerator[Any, None]:
        while (value := await self._on_thread(functools.partial(next, values, _END))) is not _END:
            yield value
