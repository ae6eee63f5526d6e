"""``Invocations``: calls of this worker to runners and other services, through the front."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any

from ..context import current_request_id
from ..exceptions import BentoMLException, exception_for_status
from .values import decode_value, encode_value

if TYPE_CHECKING:
    from .channel import Channel
    from .frames import Frame


class Waiting:
    """An invocation whose answer has not come yet: a future of the loop, or an event of a thread."""

    __slots__ = ("_event", "_future", "_loop", "items")

    def __init__(self, loop: asyncio.AbstractEventLoop | None):
        self._loop = loop
        self._future: asyncio.Future[None] | None = None if loop is None else loop.create_future()
        self._event = threading.Event() if loop is None else None
        # Frames that have come and have not been taken.
        self.items: list[Frame] = []

    def arrived(self, frame: Frame) -> None:
        """Take a frame; called on the loop."""
        self.items.append(frame)
        if self._event is not None:
            self._event.set()
        elif self._future is not None and not self._future.done():
            self._future.set_result(None)

    def wait(self) -> Frame:
        """Wait for the next frame on a thread."""
        while not self.items:
            self._event.wait()  # type: ignore[union-attr] (made for a thread)
            self._event.clear()  # type: ignore[union-attr]
        return self.items.pop(0)

    async def next(self) -> Frame:
        """Wait for the next frame on the loop."""
        while not self.items:
            await self._future  # type: ignore[misc] (made for the loop)
            self._future = self._loop.create_future()  # type: ignore[union-attr]
        return self.items.pop(0)


class Invocations:
    """Sends calls to other units and hands their answers to who waits."""

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop):
        self._channel = channel
        self._loop = loop
        self._ids = itertools.count(1)
        self._waiting: dict[int, Waiting] = {}

    def arrived(self, frame: Frame) -> None:
        """Take an ``outcome``, ``item`` or ``done`` frame."""
        waiting = self._waiting.get(frame.header["id"])
        if waiting is not None:  # otherwise nobody waits any more
            waiting.arrived(frame)

    def call(self, unit: str, method: str, arguments: Any, **merging: Any) -> Any:
        """Call a method and block this thread until its value is there."""
        self._refuse_on_loop(unit, method)
        number, waiting = self._send(None, unit, method, arguments, merging)
        try:
            return result_of(waiting.wait())
        finally:
            self._forget(number)

    async def call_async(self, unit: str, method: str, arguments: Any, **merging: Any) -> Any:
        """Call a method and leave the loop to others until its value is there."""
        number, waiting = self._send(self._loop, unit, method, arguments, merging)
        is_over = False
        try:
            frame = await waiting.next()
            is_over = True
            return result_of(frame)
        finally:
            self._forget(number, is_over)

    def stream(self, unit: str, method: str, arguments: Any) -> Iterator[bytes]:
        """Call a method that yields, on a thread: its pieces as bytes."""
        self._refuse_on_loop(unit, method)
        number, waiting = self._send(None, unit, method, arguments, {})
        is_over = False
        try:
            while (frame := waiting.wait()).type == "item":
                yield bytes(frame.body)
            is_over = True
            end_of(frame)
        finally:
            self._forget(number, is_over)

    async def stream_async(self, unit: str, method: str, arguments: Any) -> AsyncGenerator[bytes, None]:
        """Call a method that yields, on the loop: its pieces as bytes."""
        number, waiting = self._send(self._loop, unit, method, arguments, {})
        is_over = False
        try:
            while (frame := await waiting.next()).type == "item":
                yield bytes(frame.body)
            is_over = True
            end_of(frame)
        finally:
            self._forget(number, is_over)

    def lost(self) -> None:
        """Answer everybody who waits: the front is gone."""
        from .frames import Frame

        body = json.dumps({"error": "the server is shutting down"}).encode()
        for number, waiting in list(self._waiting.items()):
            waiting.arrived(Frame({"type": "outcome", "id": number, "status": 503}, body))

    def _send(
        self,
        loop: asyncio.AbstractEventLoop | None,
        unit: str,
        method: str,
        arguments: Any,
        merging: dict[str, Any],
    ) -> tuple[int, Waiting]:
        if loop is None and self._channel.reading is not None:
            self._channel.reading.give_back()  # this thread may be the one that would read the answer
        encoding, parts = encode_value(arguments)
        number = next(self._ids)
        waiting = self._waiting[number] = Waiting(loop)
        header = {
            "type": "invoke",
            "id": number,
            "unit": unit,
            "endpoint": method,
            "encoding": encoding,
            "request_id": current_request_id(),
            **merging,
        }
        self._channel.send_value(header, parts)
        return number, waiting

    def _forget(self, number: int, is_over: bool = True) -> None:
        self._waiting.pop(number, None)
        if not is_over:
            self._channel.send({"type": "withdraw", "id": number})

    def _refuse_on_loop(self, unit: str, method: str) -> None:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return
        if running is self._loop:
            raise BentoMLException(
                f"a synchronous call of `{unit}.{method}` would block the event loop, which its answer comes through: "
                "await its asynchronous form"
            )


def result_of(frame: Frame) -> Any:
    """Return the value of an answer, or raise the error that it tells."""
    header = frame.header
    if header["status"] >= 400:
        raise remote_error(header["status"], frame.body)
    encoding = header.get("encoding")
    return bytes(frame.body) if encoding is None else decode_value(encoding, frame.body)


def end_of(frame: Frame) -> None:
    """Raise what ended a stream too early, or the error that came instead of one."""
    if frame.type == "outcome":
        result_of(frame)
    elif frame.header.get("error"):
        raise BentoMLException(frame.header["error"])


def remote_error(status: int, body: Any) -> BentoMLException:
    """Return the exception of the class that a status stands for, with the message of the other side."""
    text = bytes(body).decode("utf-8", "replace")
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if isinstance(document, list) and document:
        document = document[0]
    if isinstance(document, dict) and isinstance(document.get("error"), str):
        text = document["error"]
    return exception_for_status(status, text)
