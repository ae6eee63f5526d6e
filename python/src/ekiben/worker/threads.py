"""``CallThreads``: the threads on which synchronous APIs run."""

from __future__ import annotations

import threading
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from .reading import Reading


class CallThreads:
    """A fixed number of threads and one queue.

    A plain executor would do the same with a future, a lock and a condition per call, none of which is needed here.
    The threads are daemons: a handler that never returns must not keep the process from exiting.
    """

    def __init__(self, count: int, reading: Reading | None = None):
        """Start ``count`` threads. A single one reads its calls itself while they keep coming, if it is given where."""
        self._queue: SimpleQueue[tuple[Callable[[Any], None], Any]] = SimpleQueue()
        for number in range(count):
            next_call = self._queue.get if reading is None or count > 1 else partial(self._next_call, reading)
            threading.Thread(target=run, args=(next_call,), name=f"api-{number + 1}", daemon=True).start()

    def submit(self, function: Callable[[Any], None], argument: Any) -> None:
        """Run ``function(argument)`` on the next free thread; it must not raise."""
        self._queue.put((function, argument))

    def _next_call(self, reading: Reading) -> tuple[Callable[[Any], None], Any]:
        reading.borrow()
        while True:
            try:
                call = self._queue.get_nowait()
                break
            except Empty:
                if not reading.read_borrowed():
                    return self._queue.get()
        reading.begin_call()
        return call


def run(next_call: Callable[[], tuple[Callable[[Any], None], Any]]) -> None:
    """Run one call after the other, for ever."""
    while True:
        function, argument = next_call()
        function(argument)
        del function, argument  # do not keep a request alive while waiting for the next
