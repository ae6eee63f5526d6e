"""`bentoml.SyncHTTPClient` and `AsyncHTTPClient`: what servers see of a call, and what callers get.

That upstream's servers and clients understand each other and ours is `tests/it/e2e_clients.rs`.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Callable

import bentoml
import numpy as np
import pandas as pd
import pytest
from bentoml.exceptions import BentoMLException, InvalidArgument, NotFound, ServiceUnavailable
from front import SOURCE
from http_script import Script, Seen, answer, chunks, raw, schema, scripted, unused_port
from pydantic import BaseModel

STRING = {"type": "string"}
ANY: dict[str, Any] = {}


def route(
    name: str, properties: dict[str, Any] | None = None, output: dict[str, Any] | None = None, **more: Any
) -> Any:
    members = {"properties": properties or {}, "required": [], "type": "object"}
    return {"name": name, "input": members, "output": output or ANY, **more}


def root(name: str, **members: Any) -> Any:
    return {"name": name, "input": {"root_input": True, **members}, "output": ANY}


def call(kind: str, script: Script, name: str, *args: Any, **kwargs: Any) -> Any:
    """Call an API with the client of a kind; streams as lists."""
    if kind == "sync":
        with bentoml.SyncHTTPClient(script.url) as client:
            value = getattr(client, name)(*args, **kwargs)
            return list(value) if hasattr(value, "__next__") else value

    async def run() -> Any:
        async with bentoml.AsyncHTTPClient(script.url) as client:
            value = getattr(client, name)(*args, **kwargs)
            return [item async for item in value] if hasattr(value, "__anext__") else await value

    return asyncio.run(run())


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def sent(kind: str, described: Any, *args: Any, **kwargs: Any) -> Seen:
    """Return what a call sends to an API with this description."""
    name = described["name"]
    with scripted(schema_json=schema(described), **{name: answer(body=b"null")}) as script:
        script.answers["/schema.json"] = script.answers.pop("/schema_json")
        call(kind, script, name, *args, **kwargs)
        return script.asked(f"/{name}")[0]


def got(kind: str, output: dict[str, Any], respond: Callable[[Seen, Any], None]) -> Any:
    """Return the value of an API whose server answers so."""
    with scripted(api=respond) as script:
        script.answers["/schema.json"] = schema(route("api", output=output))
        return call(kind, script, "api")


@dataclass
class Point:
    x: int
    when: datetime.date


class Item(BaseModel):
    a: float
    at: datetime.date = datetime.date(2026, 1, 2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([[1, 2]]), [[1, 2]]),
        (np.float32(0.5), 0.5),
        ({"deep": [np.arange(2), {"x": np.int64(7)}]}, {"deep": [[0, 1], {"x": 7}]}),
        (Item(a=1), {"a": 1.0, "at": "2026-01-02"}),
        ([Item(a=2)], [{"a": 2.0, "at": "2026-01-02"}]),
        (Point(3, datetime.date(2026, 1, 2)), {"x": 3, "when": "2026-01-02"}),
        (pd.DataFrame({"x": [1, 2]}), [{"x": 1}, {"x": 2}]),
        (b"text", "text"),
        ({1}, [1]),
    ],
)
def test_values_become_json(value: Any, expected: Any) -> None:
    seen = sent("sync", route("api", {"value": ANY}), value=value)
    assert json.loads(seen.body) == {"value": expected}
    assert seen.headers["content-type"] == "application/json"


def test_frames_are_sent_as_their_schema_says() -> None:
    frame = pd.DataFrame({"x": [1, 2], "y": ["a", "b"]})
    properties = {"df": {"type": "dataframe", "orient": "columns"}}
    assert json.loads(sent("sync", route("api", properties), df=frame).body) == {"df": {"x": [1, 2], "y": ["a", "b"]}}
    listed = {"dfs": {"type": "array", "items": {"type": "dataframe", "orient": "columns"}}}
    assert json.loads(sent("sync", route("api", listed), [frame[["x"]]]).body) == {"dfs": [{"x": [1, 2]}]}


def test_what_json_has_no_form_for_is_an_error_of_the_caller(kind: str) -> None:
    with pytest.raises(TypeError, match="`object`"):
        sent(kind, route("api", {"value": ANY}), value=object())


def test_roots_are_the_whole_body(kind: str) -> None:
    seen = sent(kind, root("api", type="string"), "text")
    assert (seen.headers["content-type"], seen.body) == ("text/plain", b"text")
    seen = sent(kind, root("api", type="file"), b"\x00bytes")
    assert (seen.headers["content-type"], seen.body) == ("application/octet-stream", b"\x00bytes")
    assert sent(kind, root("api", type="file"), "https://example.org/x.png").body == b"https://example.org/x.png"
    assert json.loads(sent(kind, root("api", type="object", properties={"a": ANY}), Item(a=1)).body)["a"] == 1
    assert sent(kind, root("api", type="tensor", format="numpy-array"), np.ones(1)).body == b"[1.0]"
    assert sent(kind, root("api", type="tensor", format="numpy-array")).body == b""
    with pytest.raises(TypeError, match="Expected one positional argument"):
        sent(kind, root("api", type="string"), text="x")


def test_forms_have_their_files_and_names(kind: str) -> None:
    properties = {"image": {"type": "file"}, "more": {"type": "array", "items": {"type": "file"}}, "label": STRING}
    seen = sent(kind, route("api", properties), image=b"one", more=[b"two", "http://x/y"], label='a "b"')
    boundary = seen.headers["content-type"].partition("boundary=")[2]
    parts = seen.body.decode().split(f"--{boundary}")
    assert parts[-1] == "--\r\n"
    assert [part.partition("\r\n\r\n")[2] for part in parts[1:-1]] == [
        "one\r\n",
        "two\r\n",
        "http://x/y\r\n",
        '"a \\"b\\""\r\n',
    ]
    assert 'name="image"; filename="upload-file"' in parts[1]
    assert "filename" not in parts[3]
    assert b'name="image"' not in sent(kind, route("api", properties), label="x").body
    assert b'name="image"' not in sent(kind, route("api", properties), image=None, label="x").body


def test_values_come_as_their_schema_says(kind: str) -> None:
    tensor = {"type": "tensor", "format": "numpy-array", "dtype": "float32", "shape": [2, 1]}
    array = got(kind, tensor, answer(body=b"[1, 2]"))
    assert (array.dtype, array.tolist()) == (np.float32, [[1.0], [2.0]])
    members = {"type": "object", "properties": {"x": {"type": "tensor", "format": "numpy-array"}}}
    assert got(kind, members, answer(body=b'{"x": [1], "y": 2}'))["x"].tolist() == [1]
    assert list(got(kind, {"type": "dataframe"}, answer(body=b'[{"a": 1}]')).columns) == ["a"]
    assert got(kind, STRING, answer(body=b'"as it is"', content_type="text/plain")) == '"as it is"'
    assert got(kind, {**STRING, "format": "binary"}, answer(body=b"\xff")) == b"\xff"
    assert got(kind, {**STRING, "format": "date"}, answer(body=b'"2026-01-02"')) == "2026-01-02"
    assert got(kind, ANY, answer(body=b"\x00", content_type="image/x")) == b"\x00"
    assert got(kind, ANY, answer(body=b"a", content_type="text/html; charset=utf-8")) == "a"
    assert got(kind, tensor, answer(body=b"null")) is None


def test_files_keep_their_names_and_stay_in_their_directory(kind: str) -> None:
    for name in ('filename="report.txt"', "filename*=utf-8''report.txt", 'filename="../../report.txt"'):
        path = got(kind, {"type": "file"}, answer(body=b"made", content_disposition=f"attachment; {name}"))
        assert path.name.endswith("report.txt")
        assert path.parent.name.startswith("bentoml-client-")


CUT = b'{"i": 0}{"i"'


@pytest.mark.parametrize(
    ("output", "pieces", "expected"),
    [
        ({"type": "object"}, [CUT, b": 1}", b' {"i": 2}'], [{"i": 0}, {"i": 1}, {"i": 2}]),
        ({"type": "integer"}, [b"1", b"2"], [1, 2]),
        ({"type": "array"}, [b'["\xc3', b'\xa4"][', b"1]"], [["ä"], [1]]),
        (STRING, ["gr\u00fc".encode()[:3], "gr\u00fc".encode()[3:]], ["gr", "ü"]),
        ({**STRING, "format": "binary"}, [b"\xff", b"\x00"], [b"\xff", b"\x00"]),
        (ANY, [b"data: x\n\n", b'{"a": 1}'], ["data: x\n\n", {"a": 1}]),
        ({"type": "tensor", "format": "numpy-array"}, [b"[1]"], [np.array([1])]),
    ],
)
def test_streams_are_cut_into_items(
    kind: str, output: dict[str, Any], pieces: list[bytes], expected: list[Any]
) -> None:
    assert got(kind, {**output, "is_stream": True}, chunks(*pieces)) == expected


def test_streams_that_break_off_are_errors(kind: str) -> None:
    stream = {"type": "object", "is_stream": True}
    with pytest.raises(ConnectionError, match="before the answer was complete"):
        got(kind, stream, chunks(b'{"i": 0}', ends=False))
    with pytest.raises(ConnectionError, match="ended inside an item"):
        got(kind, stream, chunks(b'{"i": 0}{"i'))
    with pytest.raises(NotFound, match="gone"):
        got(kind, stream, answer(404, b"gone"))


@pytest.mark.parametrize(
    ("status", "kind_of_error"),
    [(400, InvalidArgument), (404, NotFound), (503, ServiceUnavailable), (504, BentoMLException)],
)
def test_statuses_are_exceptions(kind: str, status: int, kind_of_error: type) -> None:
    with pytest.raises(BentoMLException) as failed:
        got(kind, ANY, answer(status, b'{"error":"why"}'))
    assert type(failed.value) is kind_of_error
    assert (str(failed.value), int(failed.value.error_code)) == ('{"error":"why"}', status)


def test_a_status_that_nobody_knows_is_an_exception(kind: str) -> None:
    with pytest.raises(BentoMLException, match="599: odd"):
        got(kind, ANY, raw(b"HTTP/1.1 599 Odd\r\nContent-Length: 3\r\n\r\nodd"))


def test_clients_wait_until_the_server_is_ready(kind: str) -> None:
    answers = iter([answer(503), answer(503)])
    with scripted(api=answer(body=b"1")) as script:
        script.answers["/readyz"] = lambda seen, handler: next(answers, answer())(seen, handler)
        script.answers["/schema.json"] = schema(route("api"))
        assert call(kind, script, "api") == 1
        assert len(script.asked("/readyz")) == 3


def test_a_server_that_is_not_there_is_named_in_time(kind: str) -> None:
    url = f"http://127.0.0.1:{unused_port()}"

    def make() -> Any:
        client = {"sync": bentoml.SyncHTTPClient, "async": bentoml.AsyncHTTPClient}[kind](url, server_ready_timeout=0.2)
        return asyncio.run(client.__aenter__()) if kind == "async" else client

    with pytest.raises(ServiceUnavailable, match="Server is not ready after 0.2 seconds"):
        make()


def test_a_server_that_has_gone_is_not_ready(kind: str) -> None:
    with scripted() as script:
        script.answers["/schema.json"] = schema()
        clients = {"sync": bentoml.SyncHTTPClient, "async": bentoml.AsyncHTTPClient}
        client = clients[kind](script.url)

        def is_ready() -> bool:
            return asyncio.run(client.is_ready(1)) if kind == "async" else client.is_ready(1)

        assert is_ready()
    client.close() if kind == "sync" else asyncio.run(client.close())
    assert not is_ready()


def test_a_service_with_a_prefix_is_ready_when_its_schema_is_there(kind: str) -> None:
    with scripted(v1__api=answer(body=b"1")) as script:
        script.answers["/readyz"] = answer(404)
        script.answers["/schema.json"] = schema({**route("api"), "route": "/v1/api"})
        assert call(kind, script, "api") == 1


def test_urls_may_have_paths(kind: str) -> None:
    with scripted(gateway__api=answer(body=b"1"), gateway__readyz=answer()) as script:
        script.answers["/gateway/schema.json"] = schema(route("api"))
        script.url += "/gateway/"
        assert call(kind, script, "api") == 1


def test_what_is_no_service_is_refused_with_its_url() -> None:
    for respond, message in (
        (answer(404), "server answered 404"),
        (answer(body=b"<html>"), "no JSON"),
        (answer(body=b'{"routes": [{"name": "x"}]}'), "not that of a service"),
        (answer(body=b"[]"), "not that of a service"),
    ):
        with scripted() as script, pytest.raises(BentoMLException, match=message) as failed:
            script.answers["/schema.json"] = respond
            bentoml.SyncHTTPClient(script.url.replace("//", "//me:s3cret@"))
        assert f"{script.url}/schema.json" in str(failed.value)


def test_tokens_are_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTO_CLOUD_API_KEY", "from-environment")
    with scripted() as script:
        script.answers["/schema.json"] = schema(route("api"))
        client = bentoml.SyncHTTPClient(script.url)
        assert script.seen[-1].headers["authorization"] == "Bearer from-environment"
        client = bentoml.SyncHTTPClient(script.url, token="s3cret")
        assert script.seen[-1].headers["authorization"] == "Bearer s3cret"
        assert "s3cret" not in repr(client) + repr(client.endpoints) + client.url
        with pytest.raises(NotFound) as failed:
            client.api()
        assert "s3cret" not in str(failed.value)


def test_other_requests_can_be_sent_with_the_clients_token() -> None:
    with scripted(own=lambda seen, handler: answer(201, seen.body)(seen, handler)) as script:
        script.answers["/schema.json"] = schema()
        client = bentoml.SyncHTTPClient(script.url, token="s3cret")
        response = client.request("post", "/own", params={"q": "ä b"}, json={"a": 1}, headers={"x-own": "1"})
        assert (response.status_code, response.json(), response.is_success) == (201, {"a": 1}, True)
        [seen] = script.asked("/own")
        assert (seen.method, seen.path, seen.headers["x-own"]) == ("POST", "/own?q=%C3%A4+b", "1")
        assert seen.headers["authorization"] == "Bearer s3cret"
        with pytest.raises(TypeError, match="no argument 'data'"):
            client.request("POST", "/own", data={})
        with pytest.raises(NotFound):
            client.request("GET", "/none").raise_for_status()


def test_a_task_knows_its_state(kind: str) -> None:
    submitted = answer(body=b'{"task_id": "1", "status": "in_progress"}')
    with scripted(api__submit=submitted, api__retry=answer(body=b'{"task_id": "2"}')) as script:
        script.answers |= {
            "/schema.json": schema(route("api", {"x": ANY}, STRING, is_task=True)),
            "/api/status": answer(body=b'{"task_id": "1", "status": "canceled"}'),
            "/api/get": answer(400, b'{"error": "not yet"}'),
            "/api/cancel": answer(body=b'{"status": "canceled"}'),
        }

        async def use() -> Any:
            async with bentoml.AsyncHTTPClient(script.url) as client:
                task = await client.api.submit(x=1)
                with pytest.raises(InvalidArgument, match="not yet"):
                    await task.get()
                return task, await task.get_status(), await task.cancel(), await task.retry()

        if kind == "async":
            task, status, cancelled, again = asyncio.run(use())
        else:
            client = bentoml.SyncHTTPClient(script.url)
            task = client.api.submit(x=1)
            with pytest.raises(InvalidArgument, match="not yet"):
                task.get()
            status, cancelled, again = task.get_status(), task.cancel(), task.retry()
        assert (task.id, again.id, status.name, cancelled) == ("1", "2", "CANCELED", None)
        assert [seen.method for seen in script.seen[-4:]] == ["GET", "GET", "PUT", "POST"]
        assert script.seen[-1].path == "/api/retry?task_id=1"
        assert "client" not in repr(task)


def test_a_call_that_is_cancelled_leaves_the_client_usable() -> None:
    import time

    def slow(_seen: Seen, handler: Any) -> None:
        time.sleep(0.3)
        answer(body=b"1")(_seen, handler)

    with scripted(slow=slow, quick=answer(body=b"2")) as script:
        script.answers["/schema.json"] = schema(route("slow"), route("quick"))

        async def use() -> Any:
            async with bentoml.AsyncHTTPClient(script.url) as client:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(client.slow(), 0.05)
                return [await client.quick() for _ in range(3)]

        assert asyncio.run(use()) == [2, 2, 2]


def test_a_stream_that_nobody_reads_to_its_end_is_closed() -> None:
    with scripted(api=chunks(*[b"x"] * 50), plain=answer(body=b"2")) as script:
        script.answers["/schema.json"] = schema(route("api", output={**STRING, "is_stream": True}), route("plain"))
        with bentoml.SyncHTTPClient(script.url) as client:
            stream = client.api()
            assert next(stream) == "x"
            stream.close()
            assert client.plain() == 2

        async def use() -> Any:
            async with bentoml.AsyncHTTPClient(script.url) as client:
                for _ in range(110):  # more than there are connections at a time
                    stream = client.api()
                    assert await stream.__anext__() == "x"
                    await stream.aclose()
                return await client.plain()

        assert asyncio.run(use()) == 2


def test_importing_bentoml_does_not_import_the_clients() -> None:
    code = (
        "import bentoml, sys; print([m for m in sys.modules if m.startswith('ekiben.clients') or m in ('ssl', 'http')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
