"""``AsyncPool``: sends requests from an event loop."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from .blocking import IDLE_SECONDS, READ_SIZE, check_tunnel, public, through, tunnel_request
from .errors import ConnectionFailed, RequestTimedOut
from .messages import REDIRECTS, Pair, Request, Response, check_redirects
from .origin import Origin, redirected
from .parser import ResponseParser

T = TypeVar("T")
# Further calls wait: a thousand at once would be a thousand connections.
MAX_CONNECTIONS = 100


class AsyncPool:
    """Connections to a server, kept and used again, from one event loop at a time."""

    def __init__(self, origin: Origin, headers: list[Pair], timeout: float):
        self.origin = origin
        self._headers = headers
        self._timeout = timeout
        self._idle: deque[_Connection] = deque()
        self._context: Any = None
        self._loop: Any = None
        self._free: asyncio.Semaphore

    async def send(self, request: Request, timeout: float | None = None) -> Response:
        """Send a request and return its answer, after redirects."""
        async with self._turn(), self._exchange(request, timeout) as exchange:
            content = b"".join([piece async for piece in exchange.pieces()])
        return exchange.response(content)

    async def stream(self, request: Request) -> tuple[Response, AsyncGenerator[bytes, None]]:
        """Send a request; return its answer and the pieces of the body. An error's body is in the answer."""
        free = self._for_this_loop()
        await free.acquire()
        try:
            exchange = await self._start(request, None)
        except BaseException:
            free.release()
            raise
        pieces = _stream(exchange, free)
        if exchange.parser.status < 400:
            return exchange.response(b""), pieces
        return exchange.response(b"".join([piece async for piece in pieces])), pieces

    async def close(self) -> None:
        """Close the connections that nobody uses."""
        self._for_this_loop()
        while self._idle:
            self._idle.pop().close()

    def _for_this_loop(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # connections of a loop that has ended are of no use
            self._idle.clear()
            self._loop, self._free = loop, asyncio.Semaphore(MAX_CONNECTIONS)
        return self._free

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        free = self._for_this_loop()
        await free.acquire()
        try:
            yield
        finally:
            free.release()

    @asynccontextmanager
    async def _exchange(self, request: Request, timeout: float | None) -> AsyncIterator[_Exchange]:
        exchange = await self._start(request, timeout)
        try:
            yield exchange
        finally:
            exchange.end()

    async def _start(self, request: Request, timeout: float | None) -> _Exchange:
        origin, redirects = self.origin, 0
        while True:
            exchange = await self._begin(origin, request, timeout or self._timeout)
            status = exchange.parser.status
            location = exchange.response(b"").headers.get("location")
            if status not in REDIRECTS or location is None:
                return exchange
            try:
                async for _ in exchange.pieces():
                    pass
            finally:
                exchange.end()
            redirects += 1
            check_redirects(redirects, self.origin)
            origin, target = redirected(origin, request.target, location)
            request = request.redirected(status, target, is_other_origin=origin is not self.origin)

    async def _begin(self, origin: Origin, request: Request, timeout: float) -> _Exchange:
        connection = await self._connection(origin, timeout)
        is_own = origin is self.origin
        try:
            await connection.write(request, self._headers if is_own else public(self._headers))
            exchange = _Exchange(connection, request, self._idle if is_own else None)
            await exchange.read_head()
        except BaseException:  # cancellation, too
            connection.close()
            raise
        return exchange

    async def _connection(self, origin: Origin, timeout: float) -> _Connection:
        """Return a connection that was kept, or a new one."""
        while self._idle and origin is self.origin:
            connection = self._idle.pop()
            if connection.is_usable():
                connection.timeout = timeout
                return connection
            connection.close()
        if origin is not self.origin:
            return await _Connection(origin, timeout).open(origin.tls())
        if self._context is None:
            self._context = origin.tls()
        return await _Connection(origin, timeout).open(self._context)


class _Connection:
    """One connection."""

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    def __init__(self, origin: Origin, timeout: float):
        self.origin = origin
        self.timeout = timeout
        self._proxy = origin.proxy()
        self._kept_at = 0.0

    async def open(self, context: Any) -> _Connection:
        """Connect."""
        with self.failures():
            self._reader, self._writer = await self._within(self._connect(context))
        return self

    async def _connect(self, context: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.origin.socket:
            return await asyncio.open_unix_connection(self.origin.socket, limit=READ_SIZE)
        if self._proxy is None:
            name = self.origin.host if context is not None else None
            return await asyncio.open_connection(
                self.origin.host, self.origin.port, limit=READ_SIZE, ssl=context, server_hostname=name
            )
        if context is None:
            return await asyncio.open_connection(self._proxy.host, self._proxy.port, limit=READ_SIZE)
        sock = await self._tunnel()
        return await asyncio.open_connection(limit=READ_SIZE, sock=sock, ssl=context, server_hostname=self.origin.host)

    async def _tunnel(self) -> socket.socket:
        """Ask the proxy for a connection to the server."""
        assert self._proxy is not None  # noqa: S101 (the caller's condition)
        loop = asyncio.get_running_loop()
        address = (self._proxy.host, self._proxy.port)
        sock = await loop.run_in_executor(None, lambda: socket.create_connection(address, self.timeout))
        try:
            sock.setblocking(False)
            await loop.sock_sendall(sock, tunnel_request(self.origin, self._proxy))
            parser = ResponseParser("CONNECT")
            while not parser.is_done:
                data = await loop.sock_recv(sock, READ_SIZE)
                if not data:
                    parser.feed_end()
                parser.feed(data)
            check_tunnel(parser, self._proxy)
        except BaseException:
            sock.close()
            raise
        return sock

    async def write(self, request: Request, defaults: list[Pair]) -> None:
        """Send a request; one that the server does not read to its end may have an answer all the same."""
        head = request.head(self.origin.netloc, *through(self.origin, self._proxy, request, defaults))
        with self.failures():
            try:
                pieces = request.body.pieces()
                # A small body goes out with its head.
                self._writer.write(head + next(pieces, b""))
                await self._within(self._writer.drain())
                for piece in pieces:
                    self._writer.write(piece)
                    await self._within(self._writer.drain())
            except (BrokenPipeError, ConnectionResetError):
                pass  # reading tells whether there is an answer

    async def read(self) -> bytes:
        """Return what comes next; nothing at the end."""
        with self.failures():
            return await self._within(self._reader.read(READ_SIZE))

    def keep(self) -> None:
        """Take note of the time from which nobody uses the connection."""
        self._kept_at = time.monotonic()

    def is_usable(self) -> bool:
        """Tell whether the server has kept the connection."""
        # What has come since the last answer is no answer to the next request.
        has_surplus = bool(self._reader._buffer)  # type: ignore[attr-defined] (asyncio has no other way to ask)
        is_open = not (has_surplus or self._reader.at_eof() or self._writer.is_closing())
        return time.monotonic() - self._kept_at < IDLE_SECONDS and is_open

    def close(self) -> None:
        """Close the connection; what was not sent yet is dropped."""
        self._writer.transport.abort()

    async def _within(self, step: Awaitable[T]) -> T:
        return await asyncio.wait_for(step, self.timeout)

    @contextmanager
    def failures(self) -> Any:
        """Raise what the system says as an error of the client, with the server's address."""
        try:
            yield
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise RequestTimedOut(f"`{self.origin}` did not answer within {self.timeout:g} seconds") from error
        except ConnectionFailed as error:
            raise type(error)(f"request to `{self.origin}` failed: {error}") from error
        except OSError as error:
            raise ConnectionFailed(f"cannot reach `{self.origin}`: {error.strerror or error}") from error


class _Exchange:
    """A request that was sent, and its answer as far as it was read."""

    def __init__(self, connection: _Connection, request: Request, idle: deque[_Connection] | None):
        self._connection = connection
        self._idle = idle
        self._url = f"{connection.origin}{request.target}"
        self.parser = ResponseParser(request.method)
        self._early: list[bytes] = []

    async def read_head(self) -> None:
        """Read until status and headers are there."""
        while not self.parser.has_head:
            self._early += await self._more()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body."""
        for piece in self._early:
            yield piece
        while not self.parser.is_done:
            for piece in await self._more():
                yield piece

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

    async def _more(self) -> list[bytes]:
        data = await self._connection.read()
        with self._connection.failures():
            if not data:
                self.parser.feed_end()
                return []
            return self.parser.feed(data)


async def _stream(exchange: _Exchange, free: asyncio.Semaphore) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in exchange.pieces():
            yield piece
    finally:
        exchange.end()
        free.release()
