"""``RunnerMethod``: one method of a runner, as callers see it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .runnable import RunnableMethodConfig
    from .runner import Runner


@dataclass(frozen=True)
class RunnerMethod:
    """``runner.<name>``: where it computes is the business of the runner's handle."""

    runner: Runner
    name: str
    config: RunnableMethodConfig
    max_batch_size: int
    max_latency_ms: int
    doc: str | None = None
    # Which of the limits the code gives; the others are the configuration's, where that says something.
    declared: frozenset[str] = frozenset()

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method and wait for its result."""
        return self.runner.handle.run_method(self, *args, **kwargs)

    async def async_run(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method and leave the event loop to others until its result is there."""
        return await self.runner.handle.async_run_method(self, *args, **kwargs)

    def async_stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """Call a streaming method and return what it yields."""
        return self.runner.handle.async_stream_method(self, *args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As ``run``: a runner whose only method is itself named ``run`` answers ``runner.run(x)`` too."""
        return self.run(*args, **kwargs)
