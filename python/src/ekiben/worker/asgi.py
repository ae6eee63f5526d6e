"""ASGI applications behind the worker protocol: a request becomes a scope, what the application sends an answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import unquote

from .answers import TRANSPORT_HEADERS, Answer, checked_status, error_answer

if TYPE_CHECKING:
    from ..context import Request
    from .calls import Call
    from .channel import Channel

Scope = dict[str, Any]


def request_scope(request: Request) -> Scope:
    """Return the scope of a request."""
    path = request.path
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": unquote(path),
        "raw_path": path.encode("latin-1", "replace"),
        "query_string": request.query_string.encode("latin-1", "replace"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.raw_headers],
        "client": request.client,
        "server": None,
        "state": {},
    }


async def run_application(application: Any, channel: Channel, call: Call, adapt: Callable[[Answer], Answer]) -> None:
    """Let an application answer a call; ``adapt`` changes the answer's head before it is sent."""
    sender = Sender(channel, call, adapt)
    await application(request_scope(call.request), Receiver(call.request), sender)
    sender.finish()


class Receiver:
    """``receive``: the whole body at once, then nothing until the call is given up."""

    def __init__(self, request: Request):
        self._request: Request | None = request

    async def __call__(self) -> dict[str, Any]:
        """Return the next message."""
        request, self._request = self._request, None
        if request is None:
            await asyncio.get_running_loop().create_future()  # a call that is given up is cancelled here
        return {"type": "http.request", "body": bytes(request.raw_body) if request else b"", "more_body": False}


class Sender:
    """``send``: an answer in one piece goes out whole, another one as a stream."""

    def __init__(self, channel: Channel, call: Call, adapt: Callable[[Answer], Answer]):
        self._channel = channel
        self._call = call
        self._adapt = adapt
        self._head: Answer | None = None
        # How long the application says that the body is.
        self._length: int | None = None
        self.is_over = False

    async def __call__(self, message: dict[str, Any]) -> None:
        """Take a message."""
        if message["type"] == "http.response.start":
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", ())]
            kept = [(name, value) for name, value in headers if name.lower() not in TRANSPORT_HEADERS]
            self._head = self._adapt(Answer(checked_status(message["status"]), kept))
            self._length = next((_number(value) for name, value in headers if name.lower() == "content-length"), None)
        elif message["type"] == "http.response.body" and self._head is not None and not self.is_over:
            await self._body(self._head, message.get("body", b""), more=message.get("more_body", False))

    def finish(self) -> None:
        """Answer for an application that returned without an answer, or in the middle of one."""
        if self.is_over:
            return
        if self._call.started:
            self._end("the application returned before the end of its answer")
        else:
            self.reply(error_answer(RuntimeError("the application returned without an answer")))

    async def _body(self, head: Answer, body: Any, *, more: bool) -> None:
        # Middlewares say that there may be more, and then send nothing.
        is_whole = not more or (len(body) > 0 and len(body) == self._length)
        if is_whole and not self._call.started:
            self.reply(head, body)
            return
        if not self._call.started:
            self._call.started = True
            frame = {"type": "stream", "id": self._call.id, "status": head.status, "headers": head.headers}
            self._channel.send(frame)
        if body:
            await self._channel.space()
            self._channel.send({"type": "chunk", "id": self._call.id}, body)
        if not more:
            self._end(None)

    def reply(self, answer: Answer, body: Any = b"") -> None:
        """Send a whole answer."""
        self.is_over = True
        self._channel.reply(self._call.id, answer.status, answer.headers, body or answer.body)

    def _end(self, error: str | None) -> None:
        self.is_over = True
        self._channel.send({"type": "end", "id": self._call.id, "error": error})


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
