"""One unmodified service file, served by upstream over HTTP and by our worker over its protocol: equal answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from front import Front

from interop.upstream import PROJECT, UpstreamServer, peer_python

JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
MULTIPART = {"content-type": 'multipart/form-data; boundary="xx yy"'}


def part(name: str, value: str) -> str:
    return f'--xx yy\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


# endpoint, body, headers
REQUESTS: list[tuple[str, bytes, dict[str, str]]] = [
    ("add", b'{"a":1,"b":2}', JSON),
    ("add", b'{"a":1}', {}),
    ("add", b'{"a":"5","unknown":1}', JSON),
    ("add", b'{"a":1}', {"content-type": "text/whatever"}),
    ("add", b'{"a":1}', {"content-type": "application/json; charset=utf-8"}),
    ("add", b"", JSON),
    ("add", b"{}", JSON),
    ("add", b'{"a":"x","b":"y"}', JSON),
    ("add", b'{"a":1.5}', JSON),
    ("add", b"[1]", JSON),
    ("add", b"{a", JSON),
    ("add", b'{"a":1', JSON),
    ("add", b"null", JSON),
    ("add", b'\xff{"a":1}', JSON),
    ("add", b'{"a":1}', {"content-type": "application/vnd.bentoml+pickle"}),
    ("add", b"a=4&b=5", FORM),
    ("add", b"b=5", FORM),
    ("add", (part("a", "7") + part("b", "8") + "--xx yy--\r\n").encode(), MULTIPART),
    ("renamed", b"{}", JSON),
    ("renamed", b'{"text":"\\u00e4"}', JSON),
    ("renamed", b'{"text":1}', JSON),
    ("renamed", b"text=a+b%21", FORM),
    ("renamed", (part("text", "grüße\r\nzwei") + "--xx yy--").encode(), MULTIPART),
    ("constrained", b'{"n":5,"colour":"red"}', JSON),
    ("constrained", b'{"n":11,"colour":"green","mode":"z"}', JSON),
    ("field_default", b"{}", JSON),
    ("field_default", b'{"n":-1}', JSON),
    ("optional", b"{}", JSON),
    ("optional", b'{"text":"t","number":"n"}', JSON),
    ("optional", b'{"text":null,"number":[1]}', JSON),
    ("untyped", b'{"value":{"k":[1,2.5,null,"\xc3\xa4"]}}', JSON),
    ("untyped", b'{"value":"text"}', JSON),
    ("untyped", b'{"value":NaN}', JSON),
    ("untyped", b"{}", JSON),
    ("keywords", b'{"a":1,"kwargs":{"z":2}}', JSON),
    ("keywords", b'{"a":1}', JSON),
    ("no_parameters", b"", JSON),
    ("no_parameters", b'{"x":1}', JSON),
    ("item_parameter", b'{"item":{"a":1}}', JSON),
    ("item_parameter", b'{"item":{"a":"x","tags":["1","2","3","4"]}}', JSON),
    ("times", b'{"when":"2026-01-02T03:04:05Z","day":"2026-01-02"}', JSON),
    ("times", b'{"when":"yesterday","day":"2026-13-02"}', JSON),
    ("many", b'{"texts":["a","b"]}', JSON),
    ("many", b'{"texts":"a"}', JSON),
    ("root_text", b'plain "quoted"', {"content-type": "text/plain"}),
    ("root_text", b'"json"', JSON),
    ("root_text", "grüße".encode(), JSON),
    ("root_text", b"\xff", JSON),
    ("root_item", b'{"a":1,"note":"n"}', JSON),
    ("root_item", b"", JSON),
    ("root_item", b'{"a":"x"}', JSON),
    ("root_item", b"a=2&note=n", FORM),
    ("root_basket", b'{"items":[{"a":1},{"a":2}],"first":{"a":1}}', JSON),
    ("root_basket", b'{"items":[{"a":1},{"b":2}]}', JSON),
    ("root_list", b"[1,2]", JSON),
    ("root_list", b'["x"]', JSON),
    ("root_list", b'{"values":[1]}', JSON),
    ("root_array", b"[[1,2],[3,4]]", JSON),
    ("root_array", b"[[1,2],[3]]", JSON),
    ("array", b'{"x":[[1,2.5],[3,4]]}', JSON),
    ("array", b'{"x":7}', JSON),
    ("array", b'{"x":[[1],[2,3]]}', JSON),
    ("array", b'{"x":["a","b"]}', JSON),
    ("array", b'{"x":[true,false]}', JSON),
    ("array", b'{"x":[]}', JSON),
    ("shaped", b'{"x":[1,2,3,4]}', JSON),
    ("shaped", b'{"x":[0.1,0.2,0.3,0.4]}', JSON),
    ("shaped", b'{"x":[1,2,3]}', JSON),
    ("shaped", b'{"x":["a",2,3,4]}', JSON),
    ("typed_array", b'{"x":[[1,2],[3,4]]}', JSON),
    ("arrays", b'{"xs":[[1,2],[3]],"y":[1.5]}', JSON),
    ("arrays", b'{"xs":[[1,2],[3]]}', JSON),
    *[(f"out_{name}", b"{}", JSON) for name in (
        "nan_array", "nan_model", "none", "optional", "tuple", "text", "bytes", "html", "point", "items",
        "basket", "untyped_text", "union", "enum", "time", "floats", "bool",
    )],
    *[("fail", f'{{"how":"{how}"}}'.encode(), JSON) for how in (
        "bad", "argument", "missing", "busy", "unauthorized", "teapot", "value", "unknown key",
    )],
    ("stream_text", b"{}", JSON),
    ("stream_text", b'{"n":0}', JSON),
    ("stream_text", b'{"n":"x"}', JSON),
    ("stream_dicts", b"{}", JSON),
    ("stream_items", b"{}", JSON),
    ("stream_plain", b"{}", JSON),
    ("stream_fails", b"{}", JSON),
    ("context", b'{"name":"me"}', {**JSON, "x-sent": "yes", "cookie": "c=1; d=2"}),
    ("context", b"{}", {**JSON, "x-sent": "yes", "cookie": "c=1; d=2"}),
    ("context_untyped", b"{}", JSON),
]  # fmt: skip


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamServer]:
    peer_python()
    server = UpstreamServer("service:Interop", tmp_path_factory.mktemp("home"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with Front("--target", "service:Interop", cwd=PROJECT) as front:
        front.description = front.ready()
        yield front


def ask_worker(front: Front, endpoint: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    call_id = front.call(endpoint, body, query="q=asked&q=twice", headers=headers)
    first = front.receive()
    pieces = [bytes(first.body)]
    if first.type == "stream":
        while (frame := front.receive()).type == "chunk":
            pieces.append(bytes(frame.body))
        assert frame.type == "end"
    assert first.header["id"] == call_id
    return first.header["status"], dict(first.header["headers"]), b"".join(pieces)


@pytest.mark.parametrize(
    ("endpoint", "body", "headers"), REQUESTS, ids=[f"{number}-{request[0]}" for number, request in enumerate(REQUESTS)]
)
def test_answers_are_equal(
    upstream: UpstreamServer, front: Front, endpoint: str, body: bytes, headers: dict[str, str]
) -> None:
    routes = {entry["name"]: entry["route"] for entry in front.description["endpoints"]}
    path = f"{routes[endpoint]}?q=asked&q=twice"
    expected = upstream.request("POST", path, body, headers)
    answered = ask_worker(front, endpoint, body, headers)

    assert (answered[0], answered[2]) == (expected[0], expected[2])
    for name in ("content-type", "x-custom", "set-cookie"):
        assert answered[1].get(name) == expected[1].get(name), name


# Where upstream is wrong and we are not: endpoint, body, headers, upstream's status and body, ours.
# A body of None is not compared.
HIDDEN = b'{"error":"An unexpected error has occurred, please check the server log."}'
DIFFERENCES: list[tuple[str, bytes, dict[str, str], tuple[int, bytes | None], tuple[int, bytes | None]]] = [
    # NaN is no JSON
    ("out_nan", b"{}", JSON, (200, b"[NaN, Infinity, 1.5]"), (200, b"[null, null, 1.5]")),
    # an invalid result is the server's fault
    ("out_invalid", b"{}", JSON, (400, None), (500, HIDDEN)),
    ("fails_inside", b"{}", JSON, (400, None), (500, HIDDEN)),
    # text fields of forms stay text
    ("renamed", b"text=123", FORM, (400, None), (200, b"123")),
    # bad input of a root array or list is the client's fault
    ("root_array", b"[1,", JSON, (500, HIDDEN), (400, None)),
    ("root_list", b"{a", JSON, (500, HIDDEN), (400, None)),
    ("shaped", b'{"x":{"a":1}}', JSON, (500, HIDDEN), (400, None)),
    ("add", b"xx", MULTIPART, (500, HIDDEN), (400, None)),
    # an empty body is an empty text
    ("root_text", b"", JSON, (200, b"{}"), (200, b"")),
    # arrays inside untyped results
    ("out_untyped_array", b"{}", JSON, (500, HIDDEN), (200, b'{"a": [1, 2]}')),
]


@pytest.mark.parametrize(
    ("endpoint", "body", "headers", "theirs", "ours"),
    DIFFERENCES,
    ids=[f"{number}-{difference[0]}" for number, difference in enumerate(DIFFERENCES)],
)
def test_differences_are_meant(
    upstream: UpstreamServer,
    front: Front,
    endpoint: str,
    body: bytes,
    headers: dict[str, str],
    theirs: tuple[int, bytes | None],
    ours: tuple[int, bytes | None],
) -> None:
    routes = {entry["name"]: entry["route"] for entry in front.description["endpoints"]}
    for answer, (status, text) in (
        (upstream.request("POST", routes[endpoint], body, headers), theirs),
        (ask_worker(front, endpoint, body, headers), ours),
    ):
        assert answer[0] == status, answer
        assert text is None or answer[2] == text


def test_schema_json_is_equal(upstream: UpstreamServer, front: Front) -> None:
    expected = json.loads(upstream.request("GET", "/schema.json")[2])
    assert by_name(front.description["schema"]) == by_name(expected)
    assert list(front.description["schema"]) == list(expected)


def by_name(schema: dict[str, Any]) -> dict[str, Any]:
    """Key the routes by name, so that a difference shows its route."""
    return {**schema, "routes": {route["name"]: route for route in schema["routes"]}}


def test_docs_json_describes_the_same_operations(upstream: UpstreamServer, front: Front) -> None:
    status, _, body = upstream.request("GET", "/docs.json")
    assert status == 200
    expected = json.loads(body)
    ours = front.description["openapi"]
    assert ours["openapi"] == expected["openapi"]
    assert ours["info"]["title"] == expected["info"]["title"]
    assert ours["info"]["version"] == expected["info"]["version"]
    assert ours["servers"] == expected["servers"]
    assert ours["tags"] == expected["tags"] or sorted(map(str, ours["tags"])) == sorted(map(str, expected["tags"]))
    assert list(ours["paths"]) == list(expected["paths"])
    for path, item in expected["paths"].items():
        if "post" in item:
            assert ours["paths"][path] == item, path
    components = expected["components"]["schemas"]
    components.pop("TaskStatusResponse")  # there are no tasks yet
    assert ours["components"]["schemas"] == components
