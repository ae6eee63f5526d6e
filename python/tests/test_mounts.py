"""Mounted applications behind a real worker, and the WSGI adapter."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from front import Front

from ekiben.services.mounts import Mount
from ekiben.services.wsgi import WsgiApplication, environment

Serve = Callable[..., Front]
MOUNTS = ":mounts"

APPS = """
import asyncio, pathlib
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

async def forever(_):
    async def items():
        try:
            while True:
                yield "x"
                await asyncio.sleep(0.01)
        finally:
            pathlib.Path("closed").touch()
    return StreamingResponse(items())

async def fails(_):
    raise ValueError("secret")

async def bare(scope, receive, send):
    if scope["path"] == "/bare/half":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
    elif scope["path"] == "/bare/raises":
        raise ValueError("secret")

app = Starlette(routes=[Route("/forever", forever), Route("/fails", fails)])

@bentoml.service
@bentoml.asgi_app(bare, path="/bare/")
@bentoml.asgi_app(app)
class Svc:
    @bentoml.api
    def echo(self, text: str) -> str:
        return text
"""


def ask(front: Front, path: str) -> Any:
    front.next_id += 1
    header = {"type": "call", "id": front.next_id, "endpoint": MOUNTS, "method": "GET", "path": path, "headers": []}
    front.send({**header, "query": "", "timeout_ms": None, "request_id": ""})
    return front.receive()


def test_mounts_are_described_and_answered(serve: Serve) -> None:
    front = serve(APPS)
    described = front.ready()
    assert described["slots"] == 256
    assert described["endpoints"][-1] == {"name": MOUNTS, "route": "/", "mounts": ["/", "/bare"]}
    paths = described["schema"]["paths"]
    assert paths == {"/echo": {"mounted": False}, "/forever": {"mounted": True}, "/fails": {"mounted": True}}
    assert front.ask("echo", {"text": "t"})[2] == b"t"
    unclaimed = ask(front, "/nothing").header
    assert (unclaimed["status"], unclaimed["headers"]) == (404, [["x-ekiben-unclaimed", "1"]])
    redirect = ask(front, "/forever/").header
    assert (redirect["status"], redirect["headers"]) == (307, [["location", "/forever"]])


def test_every_failure_of_an_application_is_one_answer(serve: Serve) -> None:
    front = serve(APPS)
    front.ready()
    reply = ask(front, "/fails")
    assert (reply.header["status"], bytes(reply.body)) == (500, b"Internal Server Error")
    for path in ("/bare/silent", "/bare/raises"):
        reply = ask(front, path)
        assert (reply.type, reply.header["status"]) == ("reply", 500), path
        assert b"check the server log" in bytes(reply.body)
    assert ask(front, "/bare/half").type == "stream"
    assert bytes(front.expect("chunk").body) == b"a"
    assert front.expect("end").header["error"] == "the application returned before the end of its answer"
    assert front.ask("echo", {"text": "t"})[0] == 200


def test_a_stream_ends_with_its_client(serve: Serve) -> None:
    front = serve(APPS)
    front.ready()
    stream = ask(front, "/forever")
    assert stream.type == "stream"
    front.expect("chunk")
    front.send({"type": "cancel", "id": stream.header["id"]})
    while (frame := front.receive()).type == "chunk":
        pass
    assert (frame.type, frame.header["error"]) == ("end", "the call was cancelled")


def test_a_streaming_response_of_a_synchronous_api_ends_with_its_client(serve: Serve) -> None:
    front = serve("""
    import asyncio, typing as t
    from starlette.responses import StreamingResponse

    async def items():
        while True:
            yield "x"
            await asyncio.sleep(0.01)

    @bentoml.service
    class Svc:
        @bentoml.api
        def endless(self) -> StreamingResponse:
            return StreamingResponse(items())

        @bentoml.api
        def echo(self, text: str) -> str:
            return text
    """)
    front.ready()
    call_id = front.call("endless")
    assert front.receive().type == "stream"
    front.send({"type": "cancel", "id": call_id})
    while (frame := front.receive()).type == "chunk":
        pass
    assert (frame.type, frame.header["error"]) == ("end", "the call was cancelled")
    assert front.ask("echo", {"text": "free"})[2] == b"free"


def test_a_mount_claims_what_is_below_it() -> None:
    mount = Mount(object(), "/m")
    for path, expected in (("/m/", True), ("/m/x", True), ("/m", False), ("/mx/", False), ("/", False)):
        assert mount.claims({"path": path}) is expected, path
    assert Mount(object(), "").claims({"path": "/anything"})


SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/w/grüße",
    "root_path": "/w",
    "raw_path": b"/w/gr%C3%BC%C3%9Fe",
    "query_string": b"a=%20",
    "http_version": "1.1",
    "headers": [
        (b"host", b"h:81"),
        (b"content-type", b"a/b"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"content-length", b"9"),
    ],
}


def test_the_environment_is_that_of_the_specification() -> None:
    environ = environment(SCOPE, b"body")
    assert environ["SCRIPT_NAME"] == "/w"
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/grüße"
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["QUERY_STRING"]) == ("h", "81", "a=%20")
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"], environ["HTTP_X_A"]) == ("a/b", "4", "1,2")
    assert environ["wsgi.input"].read() == b"body"
    assert isinstance(environ["wsgi.input"], io.BytesIO)


def run_wsgi(app: Callable[..., Any]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(WsgiApplication(app)(SCOPE, receive, send))
    return sent


def test_answers_of_wsgi_are_streamed_and_closed() -> None:
    closed = []

    class Pieces:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"", b"a", b"b"])

        def close(self) -> None:
            closed.append(True)

    def app(_: Any, start: Callable[..., Any]) -> Pieces:
        write = start("200 OK", [("X-A", "1")])
        write(b"first")
        return Pieces()

    sent = run_wsgi(app)
    assert sent[0] == {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]}
    assert [message["body"] for message in sent[1:]] == [b"first", b"a", b"b", b""]
    assert [message["more_body"] for message in sent[1:]] == [True, True, True, False]
    assert closed == [True]


def test_wsgi_applications_that_break_the_specification_fail() -> None:
    with pytest.raises(RuntimeError, match="without calling start_response"):
        run_wsgi(lambda _, start: [b"x"])
    with pytest.raises(RuntimeError, match="called twice"):
        run_wsgi(lambda _, start: (start("200 OK", []), start("200 OK", []), [])[2])
