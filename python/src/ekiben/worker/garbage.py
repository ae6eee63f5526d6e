"""When the garbage collector runs: seldom while the service starts, in full once the worker has nothing to do."""

from __future__ import annotations

import asyncio
import gc
from typing import Callable

# Imports make objects that stay: with Python's own thresholds (700, 10, 10) the collector takes a tenth of the time
# that scikit-learn needs to be imported, and finds next to nothing. Garbage is still found, only less often.
STARTING_THRESHOLDS = (100_000, 20, 100)
# How long the worker must have been idle before the one full collection, which stops it for 50 ms and more.
IDLE_SECONDS = 0.5


class Garbage:
    """The collector of one worker, from its start until it has settled."""

    def __init__(self) -> None:
        self._before = gc.get_threshold()
        gc.set_threshold(*STARTING_THRESHOLDS)

    def settle(self, loop: asyncio.AbstractEventLoop, is_idle: Callable[[], bool]) -> None:
        """Collect once from now on, at the first moment in which nobody waits for an answer.

        What exists then stays: no later collection looks at it again. Thresholds that user code has set are kept.
        """
        if gc.get_threshold() == STARTING_THRESHOLDS:
            gc.set_threshold(*self._before)
        # A worker that is busy from the beginning must not look at all that imports made, again and again.
        gc.freeze()
        loop.call_later(IDLE_SECONDS, self._collect_when_idle, loop, is_idle)

    def _collect_when_idle(self, loop: asyncio.AbstractEventLoop, is_idle: Callable[[], bool]) -> None:
        if not is_idle():
            loop.call_later(IDLE_SECONDS, self._collect_when_idle, loop, is_idle)
            return
        if gc.isenabled():
            gc.unfreeze()
            gc.collect()
        gc.freeze()
