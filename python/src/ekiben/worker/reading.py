"""``Reading``: who reads the worker's socket: the event loop, or the one thread that answers its calls.

A call that the loop reads and a thread answers changes threads, and each change costs about as much as a small call. So
a thread that has answered and has nothing else to do *borrows* the socket, reads the next call itself, and goes on
reading while calls keep coming. The loop gets the socket back when no call comes for a moment, when one takes long
(somebody must read that it was cancelled), and when the thread is about to wait for another unit's answer.
"""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from typing import Callable

from .frames import Body, Frame, FrameReader, ProtocolError

# How long a thread waits for the next call before the loop reads again.
BORROWED_MILLISECONDS = 2
# How long a call may take before the loop reads again.
CALL_SECONDS = 0.005
# What a borrowing thread takes care of itself; all else belongs to the loop.
CALLS = frozenset({"call", "batch"})


class Reading:
    """The reading end of a socket."""

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        on_frame: Callable[[Frame], None],
        on_close: Callable[[str | None], None],
        take_shared: Callable[[int], Body] | None = None,
    ):
        """``on_frame`` and ``on_close`` are called on ``loop``; calls on the thread that has borrowed the socket."""
        self._socket = sock
        self._loop = loop
        self._frames = FrameReader(self._arrived, take_shared=take_shared)
        self._on_frame = on_frame
        self._on_close = on_close
        # Held while the socket is read, and while what follows is changed.
        self._lock = threading.RLock()
        self._is_open = True
        self._is_lent = False
        # Whether the loop is told when something arrives.
        self._is_watched = True
        # Whether somebody looks after the borrowing thread.
        self._is_looked_after = False
        # How many calls the borrowing thread has begun, and whether the last goes on.
        self._begun = 0
        self._is_busy = False
        self._number = sock.fileno()
        self._poll = select.poll()
        self._poll.register(self._number, select.POLLIN)
        loop.add_reader(self._number, self._readable)

    def stop(self) -> None:
        """Read no more. Called on the loop, or when it no longer runs."""
        with self._lock:
            self._is_open = False
            self._look_away()

    def borrow(self) -> None:
        """Let the calling thread read from now on; it has no call at the moment."""
        with self._lock:
            self._is_lent, self._is_busy = self._is_open, False

    def read_borrowed(self) -> bool:
        """Wait for what comes next and read it; False when nothing came, and the loop reads again."""
        if self._poll.poll(BORROWED_MILLISECONDS):
            with self._lock:
                if self._is_lent:
                    self._read()
                    return self._is_open
        self.give_back()
        return False

    def begin_call(self) -> None:
        """Take note that the borrowing thread begins a call."""
        self._begun += 1
        self._is_busy = True

    def give_back(self) -> None:
        """Let the loop read again, if a thread has borrowed the socket."""
        if not self._is_lent:
            return
        with self._lock:
            self._is_lent = False
            if self._is_open and not self._is_watched:
                self._loop.call_soon_threadsafe(self._watch)

    def _readable(self) -> None:
        with self._lock:
            if not self._is_lent:
                self._read()
                return
            # The thread reads it. Being told of everything would wake the loop for nothing.
            self._look_away()
            if self._is_looked_after:
                return
            self._is_looked_after = True
            begun = self._begun
        self._loop.call_later(CALL_SECONDS, self._look_after, begun)

    def _look_after(self, begun: int) -> None:
        """Take the socket back from a thread that has been at the same call since the last look."""
        with self._lock:
            if self._is_busy and self._begun == begun:
                self._is_lent = False
            if self._is_lent and self._is_open and not self._is_watched:
                self._loop.call_later(CALL_SECONDS, self._look_after, self._begun)
                return
            self._is_looked_after = False
        self._watch()

    def _watch(self) -> None:
        with self._lock:
            if self._is_open and not self._is_watched:
                self._is_watched = True
                self._loop.add_reader(self._number, self._readable)

    def _look_away(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._loop.remove_reader(self._number)

    def _read(self) -> None:
        """Read once. The lock is held."""
        if not self._is_open:
            return
        try:
            count = self._socket.recv_into(self._frames.buffer())
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        if not count:
            self._end(None)
            return
        try:
            self._frames.filled(count)
        except ProtocolError as error:
            self._end(str(error))

    def _arrived(self, frame: Frame) -> None:
        if self._is_lent and frame.type not in CALLS:
            self._loop.call_soon_threadsafe(self._pass_on, frame)
        else:
            self._on_frame(frame)

    def _pass_on(self, frame: Frame) -> None:
        try:
            self._on_frame(frame)
        except ProtocolError as error:
            self._end(str(error))

    def _end(self, reason: str | None) -> None:
        """Close, and tell it on the loop."""
        with self._lock:
            if self._is_open:
                self._is_open = False
                self._loop.call_soon_threadsafe(self._ended, reason)

    def _ended(self, reason: str | None) -> None:
        self.stop()
        self._on_close(reason)
