"""Old-style services in a real worker process (docs/formats/worker-protocol.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest
from front import Front

Serve = Callable[..., Front]

TEXT = {"content-type": "text/plain; charset=utf-8"}
SERVICE = """
    from bentoml.io import JSON, Multipart, NumpyNdarray, Text
    svc = bentoml.Service("svc", runners=[])
"""


def frames(front: Front) -> tuple[dict[str, Any], bytes, str | None]:
    """Read a stream: its head, its whole body, its error."""
    head = front.expect("stream").header
    body = b""
    while (frame := front.receive()).type == "chunk":
        body += bytes(frame.body)
    assert frame.type == "end"
    return head, body, frame.header["error"]


def test_the_description_has_the_style(serve: Serve) -> None:
    front = serve(
        SERVICE
        + """
    @svc.api(input=Text(), output=Text(), route="v1/f")
    def f(x): return x
    """,
        "service:svc",
    )
    service = front.ready()
    assert (service["name"], service["style"], service["import_string"]) == ("svc", "legacy", "service:svc")
    assert (service["slots"], service["config"], service["schema"], service["path_prefix"]) == (40, {}, None, "")
    assert [(one["name"], one["route"]) for one in service["endpoints"]] == [("f", "/v1/f")]
    assert service["openapi"]["paths"]["/v1/f"]["post"]["operationId"] == "svc__f"


def test_calls_run_on_threads_and_on_the_loop(serve: Serve) -> None:
    front = serve(
        SERVICE
        + """
    import asyncio, threading
    @svc.api(input=Text(), output=Text())
    def thread(text): return threading.current_thread().name.split("-")[0]
    @svc.api(input=Text(), output=JSON())
    async def loop(text):
        await asyncio.sleep(0)
        return {"main": threading.current_thread() is threading.main_thread()}
    barrier = threading.Barrier(3, timeout=20)
    @svc.api(input=Text(), output=Text())
    def together(text):
        barrier.wait()
        return text
    """,
        "service:svc",
    )
    assert front.ready()["slots"] == 256
    assert front.ask("thread", b"x") == (200, TEXT, b"api")
    assert json.loads(front.ask("loop", b"x")[2]) == {"main": True}
    ids = {front.call("together", b"x") for _ in range(3)}
    assert {front.expect("reply").header["id"] for _ in range(3)} == ids


def test_the_context_is_passed_and_applied(serve: Serve) -> None:
    front = serve(
        SERVICE
        + """
    @svc.on_startup
    def begin(context): context.state["greeting"] = "hello"
    @svc.api(input=Text(), output=Text())
    def with_context(text, anything):
        anything.response.status_code = 201
        anything.response.headers["x-name"] = text
        anything.response.set_cookie("a", "b")
        return anything.state["greeting"] + anything.request.query_params["q"]
    @svc.api(input=Multipart(a=Text(), b=JSON()), output=JSON())
    async def parts(b, context, a): return [a, b, context.request.headers["x-test"]]
    @svc.api(input=Text(), output=Text())
    def without(text):
        svc.context.response.status_code = 418
        return text
    """,
        "service:svc",
    )
    front.ready()
    status, headers, body = front.ask("with_context", b"n", query="q=!")
    assert (status, headers["x-name"], headers["content-type"], body) == (201, "n", TEXT["content-type"], b"hello!")
    assert headers["set-cookie"].startswith("a=b;")
    assert front.ask("without", b"x") == (200, TEXT, b"x")
    form = b'--c\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    body = form % (b"a", b"text") + form % (b"b", b"[1]") + b"--c--"
    asked = front.ask("parts", body, headers={"content-type": "multipart/form-data; boundary=c", "x-test": "y"})
    assert json.loads(asked[2]) == ["text", [1], "y"]


def test_streams(serve: Serve) -> None:
    front = serve(
        SERVICE
        + """
    @svc.api(input=Text(), output=Text(content_type="text/event-stream"))
    async def events(text):
        for word in text.split():
            yield word
    @svc.api(input=Text(), output=Text())
    def words(text):
        yield from text.split()
        if text.endswith("!"):
            raise ValueError("cut")
    @svc.api(input=Text(), output=Text())
    def handed_over(text): return events(text)
    @svc.api(input=Text(), output=Text())
    async def handed_over_async(text): return events(text)
    @svc.api(input=Text(), output=Text())
    async def fails(text):
        raise bentoml.exceptions.NotFound("first")
        yield
    """,
        "service:svc",
    )
    front.ready()
    for name, kind in (
        ("events", "text/event-stream"),
        ("words", "text/plain"),
        ("handed_over", "text/plain"),
        ("handed_over_async", "text/plain"),
    ):
        front.call(name, b"a b")
        head, body, error = frames(front)
        assert (head["status"], dict(head["headers"])) == (200, {"content-type": f"{kind}; charset=utf-8"})
        assert (body, error) == (b"ab", None)
    front.call("words", b"a !")
    assert frames(front)[1:] == (b"a!", "ValueError: cut")
    status, _, body = front.ask("fails", b"x")
    assert (status, json.loads(body)) == (404, "BentoService error handling API request: first")


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        ("InvalidArgument('ä')", 400, "BentoService error handling API request: ä"),
        ("NotFound('gone')", 404, "BentoService error handling API request: gone"),
        ("BentoMLException('x', error_code=401)", 401, ""),
        ("BentoMLException('x', error_code=403)", 403, ""),
        ("ServiceUnavailable('x')", 503, ""),
        ("BentoMLException('x')", 500, ""),
        (
            "ValueError('secret')",
            500,
            "An error has occurred in BentoML user code when handling this request, find the error details in server "
            "logs",
        ),
    ],
)
def test_errors_are_texts(serve: Serve, error: str, status: int, body: str) -> None:
    front = serve(
        SERVICE
        + f"""
    from bentoml.exceptions import *
    @svc.api(input=Text(), output=Text())
    def f(text, ctx):
        ctx.response.headers["x-set"] = "before"
        raise {error}
    """,
        "service:svc",
    )
    front.ready()
    found, headers, answer = front.ask("f", b"x")
    assert (found, headers, json.loads(answer)) == (status, {"content-type": "application/json"}, body)


def test_inputs_that_are_wrong(serve: Serve) -> None:
    front = serve(
        SERVICE
        + """
    @svc.api(input=JSON(), output=JSON())
    def f(x): return x
    @svc.api(input=NumpyNdarray(shape=(1,), enforce_shape=True), output=NumpyNdarray())
    def g(x): return x
    """,
        "service:svc",
    )
    front.ready()
    start = "BentoService error handling API request: "
    status, _, body = front.ask("f", b"{")
    assert (status, json.loads(body).startswith(f"{start}Invalid JSON input received: ")) == (400, True)
    status, _, body = front.ask("g", b"[1,2]")
    assert json.loads(body) == (f'{start}NumpyNdarray: Expecting ndarray of shape "(1,)", but "(2,)" was received.')
    assert front.ask("g", b"x")[0] == 500


RUNNER = """
    class Loud(bentoml.Runnable):
        SUPPORTED_RESOURCES = ("cpu",)
        SUPPORTS_CPU_MULTI_THREADING = False
        @bentoml.Runnable.method(batchable=True)
        def shout(self, texts):
            return [text.upper() for text in texts]
        @bentoml.Runnable.method
        def letters(self, text):
            yield from text
    runner = bentoml.Runner(Loud, name="loud")
    svc = bentoml.Service("svc", runners=[runner])
    from bentoml.io import Text
"""


def test_runners_are_ready_before_the_hooks_and_gone_after_them(serve: Serve, tmp_path: Path) -> None:
    log = tmp_path / "log"
    front = serve(
        RUNNER
        + f"""
    import pathlib
    def note(text):
        with pathlib.Path({str(log)!r}).open("a") as file:
            file.write(text + "\\n")
    @svc.on_deployment
    def deploy(): note("deployment")
    @svc.on_startup
    async def begin(context): note("startup " + runner.shout.run(["a"])[0])
    @svc.on_shutdown
    def end(context): note("shutdown " + runner.shout.run(["b"])[0])
    @svc.api(input=Text(), output=Text())
    def f(text): return runner.shout.run([text])[0]
    @svc.api(input=Text(), output=Text())
    async def g(text): return (await runner.shout.async_run([text]))[0]
    @svc.api(input=Text(), output=Text())
    def h(text): return runner.letters.async_stream(text)
    """,
        "service:svc",
        arguments=("--in-process",),
    )
    assert front.ready()["units"] == []
    assert front.ask("f", b"x")[2] == b"X"
    assert front.ask("g", b"y")[2] == b"Y"
    front.call("h", b"abc")
    assert frames(front)[1:] == (b"abc", None)
    front.send({"type": "probe", "id": 1, "what": "ready"})
    assert front.expect("probed").header["ok"] is True
    front.send({"type": "drain"})
    assert front.exit_status() == 0
    assert log.read_text().splitlines() == ["deployment", "startup A", "shutdown B"]


def test_runners_are_units_of_their_own(serve: Serve) -> None:
    api = serve(RUNNER, "service:svc")
    (unit,) = api.ready()["units"]
    assert (unit["kind"], unit["name"], unit["slots"]) == ("runner", "loud", 1)
    assert [one["name"] for one in unit["endpoints"]] == ["shout", "letters"]
    worker = serve(RUNNER, "service:svc", arguments=("--unit", "runner:loud"))
    assert worker.ready()["name"] == "loud"


def test_mounted_applications(serve: Serve) -> None:
    front = serve(
        SERVICE
        + """
    async def asgi(scope, receive, send):
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})
    def wsgi(environ, start):
        start("200 OK", [("content-type", "text/plain")])
        return [environ["PATH_INFO"].encode()]
    svc.mount_asgi_app(asgi, path="/a/")
    svc.mount_wsgi_app(wsgi, "w")
    """,
        "service:svc",
    )
    (endpoint,) = front.ready()["endpoints"]
    assert endpoint["mounts"] == ["/a", "/w"]
    for path, expected in (("/a/x", (201, b"/a/x")), ("/w/y", (200, b"/y"))):
        frame = {"type": "call", "id": 1, "endpoint": endpoint["name"], "method": "GET", "path": path, "query": ""}
        front.send({**frame, "headers": [], "timeout_ms": None, "request_id": ""})
        answer = front.receive()
        body = bytes(answer.body)
        while answer.type not in ("reply", "end"):
            if answer.type == "stream":
                status = answer.header["status"]
            answer = front.receive()
            body += bytes(answer.body)
        status = answer.header.get("status") or status
        assert (status, body) == expected


def test_only_the_first_worker_runs_the_hooks_of_the_deployment(serve: Serve) -> None:
    source = SERVICE + "    @svc.on_deployment\n    def deploy(): raise ValueError('once')\n"
    failed = serve(source, "service:svc", worker_id=1)
    failed.expect("describe")
    assert failed.expect("failed").header["message"] == "ValueError: once"
    serve(source, "service:svc", worker_id=2).ready()


@pytest.mark.parametrize(
    ("source", "stage", "message"),
    [
        (
            "    svc.add_asgi_middleware(int, nothing=1)",
            "startup",
            "TypeError: 'nothing' is an invalid keyword argument",
        ),
        ("    svc.api(Text(), Text(), name='docs')(print)", "import", "InvalidArgument: Reserved API name: 'docs'"),
        ("    svc.on_startup(lambda context: 1 / 0)", "startup", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_service_that_cannot_start_says_why(serve: Serve, source: str, stage: str, message: str) -> None:
    front = serve(SERVICE + source, "service:svc")
    frame = front.receive()
    if frame.type == "describe":
        frame = front.receive()
    assert (frame.type, frame.header["stage"]) == ("failed", stage)
    assert frame.header["message"].startswith(message)
    assert front.exit_status() == 1


def test_the_server_context_says_what_the_process_is(serve: Serve) -> None:
    front = serve(
        SERVICE
        + """
    from bentoml import server_context as c
    @svc.api(input=Text(), output=JSON())
    def f(text): return [c.service_type, c.service_name, c.service_routes, bentoml.get_current_service() is svc]
    """,
        "service:svc",
    )
    front.ready()
    assert json.loads(front.ask("f", b"x")[2]) == ["api_server", "svc", ["/f"], True]
