"""``CallThreads``: the threads on which synchronous APIs run."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Any, Callable


class CallThreads:
    """A fixed number of threads and one queue.

    A plain executor would do the same with a future, a lock and a condition per call, none of which is needed here.
    The threads are daemons: a handler that never returns must not keep the process from exiting.
    """

    def __init__(self, count: int):
        self._queue: SimpleQueue[tuple[Callable[[Any], None], Any]] = SimpleQueue()
        for number in range(count):
            threading.Thread(target=self._run, name=f"api-{number + 1}", daemon=True).start()

    def submit(self, function: Callable[[Any], None], argument: Any) -> None:
        """Run ``function(argument)`` on the next free thread; it must not raise."""
        self._queue.put((function, argument))

    def _run(self) -> None:
        while True:
            function, argument = self._queue.get()
            function(argument)
            del function, argument  # do not keep a request alive while waiting for the next
