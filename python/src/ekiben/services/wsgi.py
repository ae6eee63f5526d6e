"""``WsgiApplication``: a WSGI application as an ASGI one. It runs on threads, and its answer is streamed."""

from __future__ import annotations

import asyncio
import io
import sys
from typing import Any, Callable
from urllib.parse import quote

Environment = dict[str, Any]


class WsgiApplication:
    """A WSGI application (PEP 3333) that is called as an ASGI one."""

    def __init__(self, app: Callable[..., Any]):
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer a request; a WebSocket is refused."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        message = await receive()
        body = message.get("body", b"")
        loop = asyncio.get_running_loop()

        def send_now(message: dict[str, Any]) -> None:
            asyncio.run_coroutine_threadsafe(send(message), loop).result()

        await asyncio.to_thread(self._run, environment(scope, body), send_now)

    def _run(self, environ: Environment, send: Callable[[dict[str, Any]], None]) -> None:
        response = _Response(send)
        pieces = self._app(environ, response.start)
        try:
            for piece in pieces:
                response.write(piece)
            response.finish()
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()


class _Response:
    """The head that the application gives, sent with the first piece of the body."""

    def __init__(self, send: Callable[[dict[str, Any]], None]):
        self._send = send
        self._head: dict[str, Any] | None = None
        self._is_started = False

    def start(self, status: str, headers: list[tuple[str, str]], failure: Any = None) -> Callable[[bytes], None]:
        """Take the head; again only with a failure, and before anything is sent."""
        if failure is not None and self._is_started:
            raise failure[1].with_traceback(failure[2])
        if self._head is not None and failure is None:
            raise RuntimeError("start_response was called twice")
        self._head = {
            "type": "http.response.start",
            "status": int(status.split(" ", 1)[0]),
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        }
        return self.write

    def write(self, piece: bytes) -> None:
        """Send a piece of the body."""
        if piece:
            self._begin()
            self._send({"type": "http.response.body", "body": piece, "more_body": True})

    def finish(self) -> None:
        """Send the end."""
        self._begin()
        self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _begin(self) -> None:
        if self._head is None:
            raise RuntimeError("the application returned without calling start_response")
        if not self._is_started:
            self._is_started = True
            self._send(self._head)


def environment(scope: dict[str, Any], body: bytes) -> Environment:
    """Return the environment of a request; text is bytes read as Latin-1, as the specification wants it."""
    root = scope.get("root_path", "")
    host, _, port = _header(scope, b"host").partition(":")
    environ: Environment = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": _native(root),
        "PATH_INFO": _native(scope["path"][len(root) :]),
        "REQUEST_URI": scope.get("raw_path", quote(scope["path"]).encode()).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": host or "localhost",
        "SERVER_PORT": port or "80",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1").upper().replace("-", "_")
        value = raw_value.decode("latin-1")
        if name in ("CONTENT_LENGTH", "TRANSFER_ENCODING"):
            continue  # the body is here, whole
        key = name if name == "CONTENT_TYPE" else f"HTTP_{name}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


def _native(text: str) -> str:
    return text.encode("utf-8").decode("latin-1")


def _header(scope: dict[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
