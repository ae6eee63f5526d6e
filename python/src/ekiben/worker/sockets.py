"""WebSockets of mounted applications: the front speaks with the client, here the application runs.

Both sides of the socket to the front keep to a window: whoever sends waits until the other has taken some of what is on
its way, so that a client or an application that does not listen fills no memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from .answers import TRANSPORT_HEADERS

if TYPE_CHECKING:
    from .channel import Channel
    from .frames import Frame

logger = logging.getLogger("bentoml.serve")

Message = dict[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[Any]
]

# Bytes of messages that may be on their way in one direction; a longer message passes when nothing else is.
WINDOW = 1 << 20
# What a refusal may have as its body: it is sent in one piece.
MAX_DENIAL = 16 << 20
# How long applications may take to notice that their clients are gone, when the worker ends.
LAST_SECONDS = 10.0
# Closing codes: nobody said why; the server ends; the application failed.
NORMAL, RESTART, FAILED = 1000, 1012, 1011


class ClientDisconnected(OSError):
    """The client is gone; starlette turns this into its own exception."""


class Socket:
    """One WebSocket, from the client's request to the end of the application."""

    def __init__(self, channel: Channel, header: Message):
        self.id: int = header["id"]
        self.scope = socket_scope(header)
        self._channel = channel
        self._inbox: deque[tuple[Message, int]] = deque([({"type": "websocket.connect"}, 0)])
        self._arrived = asyncio.Event()
        self._arrived.set()
        self._disconnect: Message | None = None
        # What was sent and is not with the client, and what was taken and is not told.
        self._unsent = self._untold = 0
        self._room = asyncio.Event()
        self._room.set()
        self._is_asked = True
        self._denial: Message | None = None
        self._denial_body = bytearray()
        # Whether the front has been told the last word.
        self.is_over = False
        self.task: asyncio.Task[None] | None = None

    def arrive(self, kind: str, body: Any) -> None:
        """Take a message of the client."""
        if kind == "text":
            message = {"type": "websocket.receive", "text": str(body, "utf-8")}
        else:
            message = {"type": "websocket.receive", "bytes": bytes(body)}
        self._inbox.append((message, len(body) + 1))
        self._arrived.set()

    def disconnect(self, code: int, reason: str) -> None:
        """Take note that nothing more comes: what came before is still to be read."""
        if self._disconnect is None:
            self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self.is_over = True
        self._arrived.set()
        self._room.set()

    def make_room(self, count: int) -> None:
        """Take note that messages are with the client."""
        self._unsent = max(0, self._unsent - count)
        if self._unsent < WINDOW:
            self._room.set()

    async def receive(self) -> Message:
        """Return the next message for the application; after the end, the end again."""
        while not self._inbox:
            if self._disconnect is not None:
                return dict(self._disconnect)
            self._arrived.clear()
            await self._arrived.wait()
        message, weight = self._inbox.popleft()
        self._untold += weight
        if self._untold >= WINDOW // 2 and not self.is_over:
            self._channel.send({"type": "received", "id": self.id, "bytes": self._untold})
            self._untold = 0
        return message

    async def send(self, message: Message) -> None:
        """Do what the application says."""
        kind = message["type"]
        if self._denial is not None and kind == "websocket.http.response.body":
            self._deny_more(message)
        elif self._is_asked:
            self._answer(kind, message)
        elif kind not in ("websocket.send", "websocket.close"):
            raise RuntimeError(f"Expected ASGI message 'websocket.send' or 'websocket.close', but got '{kind}'.")
        else:
            await self._send(kind, message)

    def finish(self, error: BaseException | None) -> None:
        """End it for an application that has returned, or failed."""
        if self.is_over:
            return
        if self._is_asked:
            if error is None:
                logger.error("the application at %s returned without taking the WebSocket", self.scope["path"])
            self._deny(500, [("content-type", "text/plain; charset=utf-8")], b"Internal Server Error")
        else:
            self.close(NORMAL if error is None else FAILED, "")

    def close(self, code: int, reason: str) -> None:
        """End it, and tell the front."""
        if not self.is_over:
            self._channel.send({"type": "close", "id": self.id, "code": code, "reason": reason})
            self.disconnect(code, reason)

    def restart(self) -> None:
        """End it because the worker ends."""
        if self._is_asked and not self.is_over:
            self._deny(503, [("content-type", "text/plain; charset=utf-8")], b"The service is being restarted")
        else:
            self.close(RESTART, "")

    def _answer(self, kind: str, message: Message) -> None:
        """Answer the client's request."""
        if self.is_over:
            raise ClientDisconnected
        if kind == "websocket.accept":
            self._is_asked = False
            headers = decoded_headers(message.get("headers") or ())
            frame = {"type": "accept", "id": self.id, "subprotocol": message.get("subprotocol"), "headers": headers}
            self._channel.send(frame)
        elif kind == "websocket.close":
            self._deny(403, [], b"")
        elif kind == "websocket.http.response.start":
            self._denial = message
        else:
            raise RuntimeError(
                "Expected ASGI message 'websocket.accept', 'websocket.close' or 'websocket.http.response.start' but "
                f"got '{kind}'."
            )

    def _deny_more(self, message: Message) -> None:
        if self.is_over or self._denial is None:
            raise ClientDisconnected
        self._denial_body += message.get("body", b"")
        if len(self._denial_body) > MAX_DENIAL:
            raise ValueError(f"the answer that refuses a WebSocket has more than {MAX_DENIAL} bytes")
        if not message.get("more_body", False):
            status, headers = self._denial["status"], decoded_headers(self._denial.get("headers") or ())
            self._deny(status, headers, bytes(self._denial_body))

    def _deny(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._is_asked = False
        self._channel.send({"type": "deny", "id": self.id, "status": status, "headers": headers}, body)
        self.disconnect(1006, "")

    async def _send(self, kind: str, message: Message) -> None:
        if self.is_over:
            # The client is gone, or the application has said its last word before.
            raise ClientDisconnected
        if kind == "websocket.close":
            code = message.get("code")
            self.close(code if isinstance(code, int) and 1000 <= code <= 4999 else NORMAL, message.get("reason") or "")
            return
        data, text = message.get("bytes"), message.get("text")
        body = text.encode("utf-8") if data is None else data
        while self._unsent >= WINDOW and not self.is_over:
            self._room.clear()
            await self._room.wait()
        if self.is_over:
            raise ClientDisconnected
        self._unsent += len(body) + 1
        self._channel.send({"type": "send", "id": self.id, "kind": "text" if data is None else "bytes"}, body)


class Sockets:
    """The WebSockets of this worker."""

    def __init__(self, application: Application, channel: Channel, loop: asyncio.AbstractEventLoop):
        self._application = application
        self._channel = channel
        self._loop = loop
        self._open: dict[int, Socket] = {}

    def handlers(self) -> dict[str, Callable[[Frame], None]]:
        """Return what is done with the front's messages."""
        return {
            "connect": self._connect,
            "receive": lambda frame: self._told(frame, lambda socket: socket.arrive(frame.header["kind"], frame.body)),
            "sent": lambda frame: self._told(frame, lambda socket: socket.make_room(frame.header["bytes"])),
            "disconnect": lambda frame: self._told(
                frame, lambda socket: socket.disconnect(frame.header["code"], frame.header.get("reason", ""))
            ),
        }

    def is_idle(self) -> bool:
        """Say whether none is open."""
        return not self._open

    def cancel_all(self) -> None:
        """Give all up."""
        for socket in list(self._open.values()):
            socket.disconnect(1006, "")
            if socket.task is not None:
                socket.task.cancel()

    async def finished(self) -> None:
        """Tell all applications that it is over, and wait until they have ended; those that do not hear are stopped."""
        for socket in list(self._open.values()):
            socket.restart()
        tasks = [socket.task for socket in self._open.values() if socket.task is not None]
        if not tasks:
            return
        _, deaf = await asyncio.wait(tasks, timeout=LAST_SECONDS)
        for task in deaf:
            task.cancel()
        if deaf:
            logger.warning("stopped %d applications at WebSockets that did not end by themselves", len(deaf))
            await asyncio.wait(deaf, timeout=1.0)

    def _connect(self, frame: Frame) -> None:
        socket = Socket(self._channel, frame.header)
        self._open[socket.id] = socket
        socket.task = self._loop.create_task(self._run(socket))

    def _told(self, frame: Frame, tell: Callable[[Socket], None]) -> None:
        # What crosses the last word of the application is for nobody.
        socket = self._open.get(frame.header["id"])
        if socket is not None:
            tell(socket)

    async def _run(self, socket: Socket) -> None:
        error: BaseException | None = None
        try:
            await self._application(socket.scope, socket.receive, socket.send)
        except ClientDisconnected:
            pass
        except asyncio.CancelledError as cancelled:
            error = cancelled
        except Exception as failure:
            error = failure
            logger.exception("Exception at the WebSocket %s", socket.scope["path"])
        finally:
            self._open.pop(socket.id, None)
            socket.finish(error)


def socket_scope(header: Message) -> Message:
    """Return the scope of a request for a WebSocket."""
    path = header["path"]
    client = header.get("client")
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": header.get("scheme", "ws"),
        "path": unquote(path),
        "raw_path": path.encode("latin-1", "replace"),
        "query_string": header.get("query", "").encode("latin-1", "replace"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in header.get("headers", [])],
        "subprotocols": list(header.get("subprotocols", [])),
        "client": tuple(client) if client else None,
        "server": None,
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }


def decoded_headers(headers: Any) -> list[tuple[str, str]]:
    """Return an application's headers as the front takes them."""
    decoded = [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in headers]
    return [(name, value) for name, value in decoded if name.lower() not in TRANSPORT_HEADERS]
