"""A server on loopback that answers as a test says, byte by byte where that matters."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    client: Any = None


@dataclass
class Script:
    """What is answered by path, and what was asked."""

    answers: dict[str, Callable[[Seen, Any], None]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    url: str = ""

    def asked(self, path: str) -> list[Seen]:
        return [request for request in self.seen if request.path.partition("?")[0] == path]


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Callable[[Seen, Any], None]:
    """Answer with a body of known length."""

    def respond(_seen: Seen, handler: Any) -> None:
        handler.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in {"content-type": "application/json", **named}.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return respond


def chunks(*pieces: bytes, ends: bool = True) -> Callable[[Seen, Any], None]:
    """Answer in chunks, or break off after them."""

    def respond(_seen: Seen, handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            handler.wfile.flush()
        if ends:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = not ends

    return respond


def raw(data: bytes) -> Callable[[Seen, Any], None]:
    """Answer with these bytes and close."""

    def respond(_seen: Seen, handler: Any) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return respond


def schema(*routes: dict[str, Any]) -> Callable[[Seen, Any], None]:
    """Answer with the schema of a service."""
    described = [
        {"route": f"/{route['name']}", "input": {"properties": {}}, "output": {}, "is_task": False, **route}
        for route in routes
    ]
    return answer(body=json.dumps({"name": "S", "type": "service", "routes": described}).encode())


@contextlib.contextmanager
def scripted(**answers: Callable[[Seen, Any], None]) -> Iterator[Script]:
    """Serve a script on a free port; the names of arguments are paths without the slash, with `__` for another one."""
    script = Script({f"/{name.replace('__', '/')}": act for name, act in answers.items()})
    script.answers.setdefault("/readyz", answer())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("content-length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, self.path, headers, self.rfile.read(length), self.client_address)
            script.seen.append(seen)
            act = script.answers.get(self.path.partition("?")[0], answer(404, b"Not Found"))
            act(seen, self)
            self.wfile.flush()

        do_GET = do_POST = do_PUT = do_CONNECT = _serve

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
