"""``BlockingPool``: sends requests from threads."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import ConnectionFailed, RequestTimedOut
from .messages import REDIRECTS, Pair, Request, Response, check_redirects
from .origin import Origin, redirected
from .parser import ResponseParser

READ_SIZE = 256 * 1024
# Servers close idle connections after five seconds.
IDLE_SECONDS = 4.0
PUBLIC = ("accept", "accept-encoding", "user-agent")


class BlockingPool:
    """Connections to a server, kept and used again; any number of threads may send at a time."""

    def __init__(self, origin: Origin, headers: list[Pair], timeout: float):
        self.origin = origin
        self._headers = headers
        self._timeout = timeout
        self._idle: deque[_Connection] = deque()
        self._context: Any = None

    def send(self, request: Request, timeout: float | None = None) -> Response:
        """Send a request and return its answer, after redirects."""
        with self._exchange(request, timeout) as exchange:
            content = b"".join(exchange.pieces())
        return exchange.response(content)

    def stream(self, request: Request) -> tuple[Response, Iterator[bytes]]:
        """Send a request; return its answer and the pieces of the body. An error's body is in the answer."""
        exchange = self._start(request, None)
        if exchange.parser.status >= 400:
            with _closing(exchange):
                return exchange.response(b"".join(exchange.pieces())), iter(())
        return exchange.response(b""), _stream(exchange)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _exchange(self, request: Request, timeout: float | None) -> Iterator[_Exchange]:
        exchange = self._start(request, timeout)
        with _closing(exchange):
            yield exchange

    def _start(self, request: Request, timeout: float | None) -> _Exchange:
        origin, redirects = self.origin, 0
        while True:
            exchange = self._begin(origin, request, timeout or self._timeout)
            status = exchange.parser.status
            location = exchange.response(b"").headers.get("location")
            if status not in REDIRECTS or location is None:
                return exchange
            with _closing(exchange):
                for _ in exchange.pieces():
                    pass
            redirects += 1
            check_redirects(redirects, self.origin)
            origin, target = redirected(origin, request.target, location)
            request = request.redirected(status, target, is_other_origin=origin is not self.origin)

    def _begin(self, origin: Origin, request: Request, timeout: float) -> _Exchange:
        connection = self._connection(origin, timeout)
        is_own = origin is self.origin
        try:
            connection.write(request, self._headers if is_own else public(self._headers))
            return _Exchange(connection, request, self._idle if is_own else None)
        except BaseException:
            connection.close()
            raise

    def _connection(self, origin: Origin, timeout: float) -> _Connection:
        """Return a connection that was kept, or a new one."""
        while self._idle and origin is self.origin:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if connection.is_usable():
                connection.set_timeout(timeout)
                return connection
            connection.close()
        if origin is not self.origin:
            return _Connection(origin, timeout, origin.tls())
        if self._context is None:
            self._context = origin.tls()
        return _Connection(origin, timeout, self._context)


class _Connection:
    """One connection."""

    def __init__(self, origin: Origin, timeout: float, context: Any):
        self.origin = origin
        self.timeout = timeout
        self._proxy = origin.proxy()
        self._kept_at = 0.0
        with self.failures():
            self._socket = self._connect(context)

    def _connect(self, context: Any) -> Any:
        if self.origin.socket:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(self.timeout)
            sock.connect(self.origin.socket)
            return sock
        hop = self._proxy or self.origin
        sock = socket.create_connection((hop.host, hop.port), self.timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if context is None:
                return sock
            if self._proxy is not None:
                self._tunnel(sock)
            return context.wrap_socket(sock, server_hostname=self.origin.host)
        except BaseException:
            sock.close()
            raise

    def _tunnel(self, sock: Any) -> None:
        """Ask the proxy for a connection to the server."""
        sock.sendall(tunnel_request(self.origin, self._proxy))
        parser = ResponseParser("CONNECT")
        while not parser.is_done:
            data = sock.recv(READ_SIZE)
            if not data:
                parser.feed_end()
            parser.feed(data)
        check_tunnel(parser, self._proxy)

    def write(self, request: Request, defaults: list[Pair]) -> None:
        """Send a request; one that the server does not read to its end may have an answer all the same."""
        head = request.head(self.origin.netloc, *through(self.origin, self._proxy, request, defaults))
        with self.failures():
            try:
                pieces = request.body.pieces()
                # A small body goes out with its head.
                self._socket.sendall(head + next(pieces, b""))
                for piece in pieces:
                    self._socket.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                if not self._has_data():
                    raise

    def read(self) -> bytes:
        """Return what comes next; nothing at the end."""
        with self.failures():
            return self._socket.recv(READ_SIZE)

    def keep(self) -> None:
        """Take note of the time from which nobody uses the connection."""
        self._kept_at = time.monotonic()

    def is_usable(self) -> bool:
        """Tell whether the server has kept the connection: nothing can be read from one that waits."""
        return time.monotonic() - self._kept_at < IDLE_SECONDS and not self._has_data()

    def set_timeout(self, timeout: float) -> None:
        """Use another timeout from now on."""
        self.timeout = timeout
        self._socket.settimeout(timeout)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _has_data(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Raise what the system says as an error of the client, with the server's address."""
        try:
            yield
        except (TimeoutError, socket.timeout) as error:  # two classes before Python 3.10
            raise RequestTimedOut(f"`{self.origin}` did not answer within {self.timeout:g} seconds") from error
        except ConnectionFailed as error:
            raise type(error)(f"request to `{self.origin}` failed: {error}") from error
        except OSError as error:
            raise ConnectionFailed(f"cannot reach `{self.origin}`: {error.strerror or error}") from error


class _Exchange:
    """A request that was sent, and its answer as far as it was read: at least the head."""

    def __init__(self, connection: _Connection, request: Request, idle: deque[_Connection] | None):
        self._connection = connection
        self._idle = idle
        self._url = f"{connection.origin}{request.target}"
        self.parser = ResponseParser(request.method)
        self._early: list[bytes] = []
        while not self.parser.has_head:
            self._early += self._more()

    def pieces(self) -> Iterator[bytes]:
        """Yield the body."""
        yield from self._early
        while not self.parser.is_done:
            yield from self._more()

    def response(self, content: bytes) -> Response:
        """Return the answer with a body."""
        return Response(self.parser.status, self.parser.reason, self.parser.headers, content, self._url)

    def end(self) -> None:
        """Keep the connection, or close it when it is of no use."""
        if self._idle is not None and self.parser.is_done and self.parser.can_be_kept:
            self._connection.keep()
            self._idle.append(self._connection)
        else:
            self._connection.close()

    def _more(self) -> list[bytes]:
        data = self._connection.read()
        with self._connection.failures():
            if not data:
                self.parser.feed_end()
                return []
            return self.parser.feed(data)


@contextmanager
def _closing(exchange: _Exchange) -> Iterator[None]:
    try:
        yield
    finally:
        exchange.end()


def _stream(exchange: _Exchange) -> Iterator[bytes]:
    with _closing(exchange):
        yield from exchange.pieces()


def public(headers: list[Pair]) -> list[Pair]:
    """Return the headers of a client that another server may see: those that do not say who asks."""
    return [pair for pair in headers if pair[0].lower() in PUBLIC]


def through(origin: Origin, proxy: Any, request: Request, defaults: list[Pair]) -> tuple[list[Pair], str | None]:
    """Return default headers and target of a request; a proxy for plain HTTP is told the whole URL."""
    if proxy is None or origin.is_secure:
        return defaults, None
    secret = [("proxy-authorization", proxy.authorization)] if proxy.authorization else []
    return [*defaults, *secret], f"{origin}{request.target}"


def tunnel_request(origin: Origin, proxy: Any) -> bytes:
    """Return the request that makes a proxy connect to a server."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    secret = f"proxy-authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
    return f"CONNECT {host}:{origin.port} HTTP/1.1\r\nhost: {host}:{origin.port}\r\n{secret}\r\n".encode("latin-1")


def check_tunnel(parser: ResponseParser, proxy: Any) -> None:
    """Raise when a proxy has refused."""
    if parser.status != 200:
        raise ConnectionFailed(f"the proxy `{proxy.host}:{proxy.port}` answered {parser.status} {parser.reason}")
