"""HTTP/1.1 of the clients: the parser alone, and both pools against a server that does what servers do."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from http_script import Seen, answer, chunks, raw, scripted, unused_port

from ekiben.clients.transport.asynchronous import AsyncPool
from ekiben.clients.transport.blocking import BlockingPool
from ekiben.clients.transport.errors import ConnectionFailed, ProtocolError, RequestTimedOut
from ekiben.clients.transport.messages import Body, Request, Response
from ekiben.clients.transport.origin import parse_url, safe_url
from ekiben.clients.transport.parser import ResponseParser
from ekiben.exceptions import InvalidArgument

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5;x=y\r\n\r\n{1}\r\n0\r\nTrailer: t\r\n\r\n"
)
COUNTED = b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nX-A: b\r\n\r\nbody"


def parsed(data: bytes, size: int, method: str = "POST") -> tuple[ResponseParser, list[bytes]]:
    parser, pieces = ResponseParser(method), []
    for start in range(0, len(data), size):
        pieces += parser.feed(data[start : start + size])
    return parser, pieces


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_answers_are_read_wherever_the_network_cuts_them(size: int) -> None:
    parser, pieces = parsed(CHUNKED, size)
    assert (parser.is_done, parser.can_be_kept, pieces) == (True, True, [b"abc", b"\r\n{1}"])
    parser, pieces = parsed(COUNTED, size)
    assert (parser.status, parser.reason, b"".join(pieces), parser.is_done) == (404, "Not Found", b"body", True)
    assert ("x-a", "b") in parser.headers


def test_bodies_end_as_their_heads_say() -> None:
    parser, pieces = parsed(b"HTTP/1.0 200 OK\r\n\r\nto the end", 4)
    assert (parser.is_done, b"".join(pieces)) == (False, b"to the end")
    parser.feed_end()
    assert parser.is_done
    assert not parser.can_be_kept
    for data, method in (
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HEAD"),
        (b"HTTP/1.1 204 No\r\n\r\n", "PUT"),
    ):
        parser, _ = parsed(data, 99, method)
        assert parser.is_done
        assert parser.can_be_kept
    parser, _ = parsed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", 99)
    assert not parser.can_be_kept
    parser, _ = parsed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200", 99)
    assert not parser.can_be_kept


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 200", "before the answer was complete"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "before the answer was complete"),
        (CHUNKED[:-5], "before the answer was complete"),
        (b"SSH-2.0-x\r\n\r\n", "no HTTP/1.1"),
        (b"HTTP/1.1 2\xb2\xb3 OK\r\n\r\n", "no HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "the length `-1`"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "the length `xyz`"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "unknown transfer encoding"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000, "longer than"),
    ],
)
def test_broken_answers_are_errors(data: bytes, message: str) -> None:
    def read() -> None:
        parser, _ = parsed(data, 4096)
        parser.feed_end()

    with pytest.raises(ProtocolError, match=message):
        read()


class Sender:
    """One interface to both pools."""

    def __init__(self, kind: str, url: str, headers: list[tuple[str, str]] | None = None, timeout: float = 5):
        self.loop = asyncio.new_event_loop() if kind == "async" else None
        pool_class: Any = BlockingPool if kind == "sync" else AsyncPool
        self.origin, self.base = parse_url(url)
        self.pool = pool_class(self.origin, headers or [], timeout)

    def send(self, method: str, target: str, *parts: Any, headers: Any = ()) -> Response:
        request = Request(method, self.base + target, list(headers), Body(*parts))
        return self.loop.run_until_complete(self.pool.send(request)) if self.loop else self.pool.send(request)

    def stream(self, target: str) -> list[bytes]:
        request = Request("POST", target)

        async def read() -> list[bytes]:
            response, pieces = await self.pool.stream(request)
            assert response.status_code == 200
            return [piece async for piece in pieces]

        if self.loop:
            return self.loop.run_until_complete(read())
        response, pieces = self.pool.stream(request)
        assert response.status_code == 200
        return list(pieces)


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_bodies_of_all_kinds_arrive_and_connections_are_kept(kind: str, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"0123456789" * 100_000)
    with scripted(echo=lambda seen, handler: answer(body=seen.body)(seen, handler)) as script:
        sender = Sender(kind, script.url)
        assert sender.send("POST", "/echo", b"a", io.BytesIO(b"b"), b"").content == b"ab"
        assert sender.send("POST", "/echo", b"<", large, b">").content == b"<" + large.read_bytes() + b">"
        rest = io.BytesIO(b"skip rest")
        rest.seek(5)
        assert sender.send("POST", "/echo", rest).content == b"rest"
        assert len({seen.client for seen in script.seen}) == 1


def test_a_connection_that_the_server_has_closed_is_not_used_again(kind: str) -> None:
    with scripted(once=raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as script:
        sender = Sender(kind, script.url)
        for _ in range(3):
            assert sender.send("POST", "/once").content == b"ok"
            if sender.loop:
                sender.loop.run_until_complete(asyncio.sleep(0.05))
            time.sleep(0.05)
        assert len({seen.client for seen in script.seen}) == 3


def test_streams_come_in_the_pieces_that_the_server_sent(kind: str) -> None:
    with scripted(stream=chunks(b"one", b"two", b"three"), cut=chunks(b"one", ends=False)) as script:
        sender = Sender(kind, script.url)
        assert sender.stream("/stream") == [b"one", b"two", b"three"]
        assert sender.stream("/stream") == [b"one", b"two", b"three"]
        with pytest.raises(ConnectionFailed, match="before the answer was complete"):
            sender.stream("/cut")


def test_redirects_are_followed_and_secrets_stay_with_their_server(kind: str) -> None:
    with scripted(there=answer(body=b"there"), echo=answer(body=b"got")) as other, scripted() as script:
        script.answers |= {
            "/here": answer(307, location="/near"),
            "/near": lambda seen, handler: answer(body=seen.method.encode() + seen.body)(seen, handler),
            "/away": answer(302, location=f"{other.url}/there?q=1"),
            "/loop": answer(301, location="/loop"),
        }
        secrets = [("authorization", "Bearer s3cret"), ("x-yatai-api-token", "s3cret"), ("user-agent", "me")]
        sender = Sender(kind, script.url, secrets)
        assert sender.send("POST", "/here", b" body").content == b"POST body"
        assert script.asked("/near")[0].headers["authorization"] == "Bearer s3cret"
        assert sender.send("POST", "/away", b"body", headers=[("cookie", "c=1")]).content == b"there"
        [seen] = other.seen
        assert (seen.method, seen.path, seen.body) == ("GET", "/there?q=1", b"")
        assert "s3cret" not in str(seen.headers)
        assert "cookie" not in seen.headers
        assert seen.headers["user-agent"] == "me"
        with pytest.raises(ProtocolError, match="redirected more than 20 times"):
            sender.send("POST", "/loop")


def test_failures_name_the_server_and_no_secret(kind: str) -> None:
    port = unused_port()
    sender = Sender(kind, f"http://user:s3cret@127.0.0.1:{port}", [("authorization", "s3cret")])
    with pytest.raises(ConnectionFailed, match=f"cannot reach `http://127.0.0.1:{port}`") as failed:
        sender.send("POST", "/x")
    assert "s3cret" not in str(failed.value)

    def hang(_seen: Seen, _handler: Any) -> None:
        time.sleep(0.5)

    with scripted(hang=hang, broken=raw(b"nonsense\r\n\r\n")) as script:
        sender = Sender(kind, script.url, timeout=0.1)
        with pytest.raises(RequestTimedOut, match=f"`{script.url}` did not answer within 0.1 seconds"):
            sender.send("POST", "/hang")
        with pytest.raises(ProtocolError, match=f"request to `{script.url}` failed: the answer is no HTTP/1.1"):
            sender.send("POST", "/broken")


def test_an_answer_before_the_end_of_the_request_is_read(kind: str) -> None:
    """A server that refuses a large body answers and closes, while the client is still sending."""
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        connection, _ = listener.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass
        connection.close()

    threading.Thread(target=refuse, daemon=True).start()
    sender = Sender(kind, f"http://127.0.0.1:{listener.getsockname()[1]}")
    response = sender.send("POST", "/x", b"x" * 20_000_000)
    assert (response.status_code, response.content) == (413, b"big")
    listener.close()


def test_unix_sockets_are_reached_by_file_urls(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def respond() -> None:
        connection, _ = listener.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    threading.Thread(target=respond, daemon=True).start()
    assert Sender(kind, f"file://{path}").send("GET", "/").content == b"ok"
    listener.close()


def test_proxies_of_the_environment_are_used(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted() as proxy:
        proxy.answers["http://model.example:81/x"] = answer(body=b"through")
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:s3cret@"))
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "direct.example")
        sender = Sender(kind, "http://model.example:81")
        assert sender.send("POST", "/x", b"body").content == b"through"
        assert proxy.seen[0].headers["proxy-authorization"] == "Basic bWU6czNjcmV0"
        with pytest.raises(ConnectionFailed, match="the proxy `127.0.0.1:[0-9]+` answered 404"):
            Sender(kind, "https://model.example").send("GET", "/")
        assert proxy.seen[-1].method == "CONNECT"
    assert parse_url("http://direct.example")[0].proxy() is None
    assert parse_url("http://127.0.0.1:1")[0].proxy() is None
    assert parse_url("http://localhost:1")[0].proxy() is None


def test_urls_are_read_and_shown_without_their_secrets() -> None:
    origin, base = parse_url("https://me:pw@example.org/deep/er/")
    assert (str(origin), base, origin.is_secure) == ("https://example.org", "/deep/er", True)
    assert origin.authorization == "Basic bWU6cHc="
    assert "pw" not in repr(origin)
    assert str(parse_url("http://[::1]:80")[0]) == "http://[::1]"
    assert str(parse_url("tcp://127.0.0.1:5")[0]) == "http://127.0.0.1:5"
    assert safe_url("me:pw@example.org") == "example.org"
    for url in ("example.org:3000", "ftp://x", "http://", "http://x:port", "http://[x"):
        with pytest.raises(InvalidArgument):
            parse_url(url)


def test_line_breaks_never_reach_the_wire() -> None:
    with pytest.raises(ValueError, match="line break"):
        Request("GET", "/x", [("a", "b\r\nc: d")]).head("host", [])
    with pytest.raises(ValueError, match="line break"):
        Request("GET", "/x y\n").head("host", [])


def test_a_file_that_changes_while_it_is_sent_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"123456")
    body = Body(file)
    file.write_bytes(b"12")
    with pytest.raises(OSError, match="2 bytes instead of 6"):
        list(body.pieces())
