"""The whole service as one ASGI application, for services with middlewares.

Middlewares stand around APIs, mounted applications and the front's own pages, and see every request and answer. An API
is called in this process as if the front had called it, and what it answers becomes an ASGI answer again. What is the
front's is answered with a mark: the front puts its own answer in the place of it, and keeps the headers that the
middlewares have added.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..context import Context, current_request_id
from .answers import Answer
from .asgi import Receiver, Sender, request_scope
from .frames import Frame
from .mounts import socket_application

if TYPE_CHECKING:
    from ..services.loader import AnyService
    from .calls import Call, Calls
    from .channel import Channel

logger = logging.getLogger("bentoml.serve")

Scope = dict[str, Any]

# Marks of answers: the front is to answer for this path; the answer is that of an API, and gets the headers of one.
OWN = "x-ekiben-own"
OF_API = "x-ekiben-api"
# What an API may be ahead of those who take its stream.
HIGH_WATER = 1 << 20
# Pages of the front that come before mounted applications, and those that come after them.
FIRST_PAGES = ("/livez", "/healthz", "/readyz", "/metrics")
LAST_PAGES = ("/docs.json", "/")
TASK_ACTIONS = ("submit", "status", "get", "retry", "cancel")
# What needs no percent sign in a path.
PLAIN = "/:@!$&'()*+,;=~-._"

_exchange: contextvars.ContextVar[Exchange | None] = contextvars.ContextVar("exchange", default=None)


class Application:
    """Answers clients' requests through the service's middlewares."""

    def __init__(self, service: AnyService, calls: Calls, channel: Channel):
        self._service = service
        self._channel = channel
        self._exchanges: dict[int, Exchange] = {}
        self._inner = calls.within(InnerChannel(self._exchanges))
        self._ids = itertools.count(1)
        self._sockets = socket_application(service)
        prefix = getattr(service, "path_prefix", "")
        self._apis = {f"{prefix}{getattr(api, 'path', api.route)}": name for name, api in service.apis.items()}
        tasks = [path for path, name in self._apis.items() if service.apis[name].is_task]
        self._first = {f"{prefix}{page}" for page in FIRST_PAGES} | {"/schema.json"}
        self._first |= {f"{path.rstrip('/')}/{action}" for path in tasks for action in TASK_ACTIONS}
        self._last = {f"{prefix}{page}" for page in LAST_PAGES}
        self.app: Any = self._route
        for middleware, options in reversed(service.middlewares):
            self.app = middleware(self.app, **options)

    async def answer(self, call: Call) -> None:
        """Answer a call of the front."""
        Context.enter(call.request, call.response)
        sender = Sender(self._channel, call, lambda answer: answer)
        try:
            await self.app(request_scope(call.request), Receiver(call.request), sender)
        except Exception:
            logger.exception("Exception on %s [%s]", call.request.path, call.request.method)
            if not sender.is_over and not call.started:
                sender.reply(Answer(500, [("content-type", "text/plain; charset=utf-8")]), b"Internal Server Error")
        sender.finish()

    async def finished(self) -> None:
        """Wait until no call and no background task is left."""
        await self._inner.finished()

    async def _route(self, scope: Scope, receive: Any, send: Any) -> None:
        """Stand where upstream's router stands: below all middlewares."""
        if scope["type"] == "websocket":
            await self._sockets(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Any, send: Any) -> None:
        path = scope["path"]
        name = self._apis.get(path)
        if name is not None and scope["method"] == "POST":
            await self._call(name, scope, receive, send)
            return
        if path in self._first:
            await self._leave_to_front(path, send)
            return
        mount = next((mount for mount in self._service.mount_apps if mount.claims(scope)), None)
        if mount is not None:
            await mount.app(mount.scope(scope), receive, send)
        elif path in self._last or self._is_proxied(path):
            await self._leave_to_front(path, send)
        elif name is not None:
            await _say(send, 405, b"Method Not Allowed", [(b"allow", b"POST")])
        elif self._has_other_slash(scope):
            other = path.rstrip("/") if path.endswith("/") else f"{path}/"
            query = scope["query_string"]
            location = quote(other, safe=PLAIN).encode() + (b"?" + query if query else b"")
            await _say(send, 307, b"", [(b"location", location)])
        else:
            await _say(send, 404, b"Not Found")

    def _is_proxied(self, path: str) -> bool:
        prefix = getattr(self._service, "path_prefix", "")
        return getattr(self._service, "has_custom_command", False) and path.startswith(f"{prefix}/")

    def _has_other_slash(self, scope: Scope) -> bool:
        path = scope["path"]
        if path.endswith("/"):
            shorter = path.rstrip("/")
            return shorter in self._apis or shorter in self._first or self._is_mounted(scope, shorter)
        return f"{path}/" in self._last or self._is_mounted(scope, f"{path}/")

    def _is_mounted(self, scope: Scope, path: str) -> bool:
        return any(mount.claims({**scope, "path": path}) for mount in self._service.mount_apps)

    async def _leave_to_front(self, path: str, send: Any) -> None:
        headers = [(OWN.encode(), quote(path, safe=PLAIN).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _call(self, name: str, scope: Scope, receive: Any, send: Any) -> None:
        """Call an API, and pass its answer on."""
        body = await _body(receive)
        header = {
            "type": "call",
            "id": next(self._ids),
            "endpoint": name,
            "method": scope["method"],
            "path": quote(scope["path"], safe=PLAIN),
            "query": scope["query_string"].decode("latin-1"),
            "headers": [
                (bytes(key).decode("latin-1"), bytes(value).decode("latin-1")) for key, value in scope["headers"]
            ],
            "timeout_ms": None,
            "request_id": current_request_id(),
            "state": scope.setdefault("state", {}),
        }
        exchange = Exchange(header["id"])
        self._exchanges[exchange.id] = exchange
        before = _exchange.set(exchange)
        try:
            self._inner.begin(Frame(header, body))
            await exchange.pass_on(send)
        except BaseException:
            self._inner.cancel(exchange.id)
            raise
        finally:
            exchange.close()
            self._exchanges.pop(exchange.id, None)
            _exchange.reset(before)


class Exchange:
    """One call of an API on its way back: frames as the front would get them."""

    def __init__(self, call_id: int):
        self.id = call_id
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._frames: asyncio.Queue[tuple[dict[str, Any], Any]] = asyncio.Queue()
        self._ahead = 0
        self._lock = threading.Lock()
        self._room = threading.Event()
        self._room.set()
        self._room_on_loop = asyncio.Event()
        self._room_on_loop.set()
        self._is_closed = False

    def put(self, header: dict[str, Any], body: Any) -> None:
        """Take a frame, from any thread; a thread waits for room first."""
        is_loop = threading.get_ident() == self._loop_thread
        if not is_loop:
            self._room.wait()
        with self._lock:
            self._ahead += len(body)
            if self._ahead > HIGH_WATER and not self._is_closed:
                self._room.clear()
                if is_loop:
                    self._room_on_loop.clear()
        if is_loop:
            self._frames.put_nowait((header, body))
        else:
            self._loop.call_soon_threadsafe(self._frames.put_nowait, (header, body))

    async def space(self) -> None:
        """Wait for room, on the loop."""
        await self._room_on_loop.wait()

    async def pass_on(self, send: Any) -> None:
        """Send the answer to its end."""
        while True:
            header, body = await self._frames.get()
            kind = header["type"]
            if kind == "reply":
                await send(_start(header, len(body)))
                await send({"type": "http.response.body", "body": bytes(body)})
                return
            if kind == "stream":
                await send(_start(header, None))
            elif kind == "chunk":
                await send({"type": "http.response.body", "body": bytes(body), "more_body": True})
            elif header["error"] is not None:
                raise RuntimeError(header["error"])
            else:
                await send({"type": "http.response.body", "body": b""})
                return
            self._took(len(body))

    def close(self) -> None:
        """Let nobody wait for room any more."""
        with self._lock:
            self._is_closed = True
            self._room.set()
            self._room_on_loop.set()

    def _took(self, count: int) -> None:
        with self._lock:
            self._ahead -= count
            if self._ahead <= HIGH_WATER:
                self._room.set()
                self._room_on_loop.set()


class InnerChannel:
    """What calls inside of the application have in the place of the socket to the front."""

    def __init__(self, exchanges: dict[int, Exchange]):
        self._exchanges = exchanges

    def send(self, header: dict[str, Any], body: Any = b"") -> None:
        """Send a frame to whoever waits for it."""
        exchange = self._exchanges.get(header["id"])
        if exchange is not None:
            exchange.put(header, body)

    def reply(self, call_id: int, status: int, headers: list[tuple[str, str]], body: Any = b"") -> None:
        """Send the whole answer to a call."""
        self.send({"type": "reply", "id": call_id, "status": status, "headers": headers}, body)

    def send_parts(self, header: dict[str, Any], parts: list[Any]) -> None:
        """Send a frame whose body is in parts."""
        self.send(header, b"".join(parts))

    def wait_for_space(self) -> None:
        """Do nothing: `send` waits."""

    async def space(self) -> None:
        """Wait while the answer of the running call is not taken."""
        exchange = _exchange.get()
        if exchange is not None:
            await exchange.space()


def _start(header: dict[str, Any], length: int | None) -> dict[str, Any]:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in header["headers"]]
    headers.append((OF_API.encode(), b"1"))
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    return {"type": "http.response.start", "status": header["status"], "headers": headers}


async def _body(receive: Any) -> bytes:
    pieces = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise asyncio.CancelledError
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _say(send: Any, status: int, text: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    kind = [(b"content-type", b"text/plain; charset=utf-8")] if text else []
    length = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*length, *kind, *(headers or [])]})
    await send({"type": "http.response.body", "body": text})
