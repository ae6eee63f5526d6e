"""``Channel``: the worker's end of the socket. Any thread may send; who reads is told in ``reading``."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from typing import Any, Callable

from .frames import (
    Body,
    Frame,
    FrameReader,
    ProtocolError,
    encode_frame,
    encode_frame_of_parts,
    encode_reply,
    encode_shared_frame,
)
from .reading import Reading
from .shared import SharedBodies

# Streams wait while more than this is unsent: a slow client must not fill the worker's memory.
HIGH_WATER = 1 << 20
# How many buffers one system call takes; far below the system's limit of 1024.
BUFFERS_PER_CALL = 64


class Channel:
    """Frames over a connected socket.

    A thread that sends writes to the socket itself: waking the loop for it would cost more than the write. Only
    what the socket does not take at once is left to the loop.
    """

    def __init__(self, sock: socket.socket, shared: SharedBodies | None = None):
        self._socket = sock
        self._shared = shared
        self._socket.setblocking(True)
        self._lock = threading.Lock()
        self._space = threading.Condition(self._lock)
        self._pending: deque[memoryview] = deque()
        self._pending_bytes = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        # There from the moment in which the channel is attached.
        self.reading: Reading | None = None
        self.closed = False

    def attach(
        self,
        loop: asyncio.AbstractEventLoop,
        on_frame: Callable[[Frame], None],
        on_close: Callable[[str | None], None],
    ) -> None:
        """Begin to read on ``loop``. ``on_close`` gets the reason, None for an end of file."""
        self._socket.setblocking(False)
        self._loop = loop

        def lost(reason: str | None) -> None:
            self.close()
            on_close(reason)

        take_shared = self._shared.take if self._shared is not None else None
        self.reading = Reading(self._socket, loop, on_frame, lost, take_shared)

    def wait_for(self, kind: str) -> Frame | None:
        """Read frames before the channel is attached until one of this type is there; None at the end of file."""
        found: list[Frame] = []
        reader = FrameReader(found.append)
        while not found:
            count = self._socket.recv_into(reader.buffer())
            if not count:
                return None
            reader.filled(count)
        frame = found.pop()
        if frame.type != kind or found:
            raise ProtocolError(f"`{frame.type}` came before `{kind}`")
        return frame

    def detach(self) -> None:
        """Read no more; what is sent from now on blocks until it is sent, that from before included."""
        with self._lock:
            if self.closed or self._loop is None or self.reading is None:
                return
            self.reading.stop()
            self._loop.remove_writer(self._socket.fileno())
            self._loop = None
            self._socket.setblocking(True)
            pending, self._pending, self._pending_bytes = self._pending, deque(), 0
            for buffer in pending:
                self._socket.sendall(buffer)

    def send(self, header: dict[str, Any], body: Body = b"") -> None:
        """Send a frame; never blocks once attached. On a closed channel nothing happens: nobody is left to tell."""
        self._send(encode_frame(header, body))

    def reply(self, call_id: int, status: int, headers: list[tuple[str, str]], body: Body = b"") -> None:
        """Send the whole answer to a call."""
        self._send(encode_reply(call_id, status, tuple(headers), body))

    def send_parts(self, header: dict[str, Any], parts: list[Body]) -> None:
        """Send a frame whose body is these parts one after the other, none of which is copied."""
        self._send(encode_frame_of_parts(header, parts))

    def send_value(self, header: dict[str, Any], parts: list[Body]) -> None:
        """Send a frame whose body is a value for another worker: a large one through memory that both share."""
        length = sum(len(part) for part in parts)
        if self._shared is not None and self._shared.is_for(length):
            frame = encode_shared_frame(header, length)  # first: what cannot be written must not have a descriptor
            if self._shared.offer(parts, length, lambda: self._send(frame)):
                return
        self.send_parts(header, parts)

    def _send(self, buffers: list[Body]) -> None:
        with self._lock:
            if self.closed:
                return
            if self._loop is None:
                for buffer in buffers:
                    self._socket.sendall(buffer)
                return
            if not self._pending and len(buffers) == 1 and self._write_whole(buffers[0]):
                return
            was_idle = not self._pending
            before = len(self._pending)
            self._pending.extend(memoryview(buffer).cast("B") for buffer in buffers)
            self._pending_bytes += sum(len(buffer) for buffer in buffers)
            if was_idle and self._write():
                self._loop.call_soon_threadsafe(self._watch)
            # User code may write into its memory again: what is not sent at once is copied.
            for place in range(before, len(self._pending)):
                if not isinstance(self._pending[place].obj, bytes):
                    self._pending[place] = memoryview(bytes(self._pending[place]))

    def wait_for_space(self) -> None:
        """Block the calling thread while too much is unsent."""
        with self._space:
            while self._pending_bytes > HIGH_WATER and not self.closed:
                self._space.wait()

    async def space(self) -> None:
        """Wait while too much is unsent."""
        await self._until(HIGH_WATER)

    async def flushed(self) -> None:
        """Wait until everything is sent."""
        await self._until(0)

    def close(self) -> None:
        """Close the socket; what is unsent is lost."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            if self._loop is not None and self.reading is not None:
                self.reading.stop()
                self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            if self._shared is not None:
                self._shared.close()
            self._pending.clear()
            self._pending_bytes = 0
            self._space.notify_all()
        self._wake()

    async def _until(self, limit: int) -> None:
        while not self.closed:
            with self._lock:
                if self._pending_bytes <= limit:
                    return
                future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append(future)
            await future

    def _write_whole(self, buffer: Body) -> bool:
        """Write a small frame, the usual case; True when the socket took it. The lock is held."""
        try:
            count = self._socket.send(buffer)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True  # as in `_write`: the reader will see the end of file
        if count < len(buffer):
            self._pending.append(memoryview(buffer)[count:])
            self._pending_bytes += len(buffer) - count
            self._loop.call_soon_threadsafe(self._watch)  # type: ignore[union-attr] (attached)
        return True

    def _write(self) -> bool:
        """Write what the socket takes; True when something is left. The lock is held."""
        while self._pending:
            buffers = [self._pending[i] for i in range(min(len(self._pending), BUFFERS_PER_CALL))]
            try:
                count = self._socket.sendmsg(buffers)
            except (BlockingIOError, InterruptedError):
                return True
            except OSError:
                # The front is gone. The reader will see the end of file and stop the worker.
                self._pending.clear()
                self._pending_bytes = 0
                return False
            self._pending_bytes -= count
            while count:
                first = self._pending[0]
                if len(first) > count:
                    self._pending[0] = first[count:]
                    break
                count -= len(first)
                self._pending.popleft()
        return False

    def _watch(self) -> None:
        if self._loop is not None and not self.closed:
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def _writable(self) -> None:
        with self._space:
            more = self._write()
            if not more and self._loop is not None:
                self._loop.remove_writer(self._socket.fileno())
            self._space.notify_all()
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
