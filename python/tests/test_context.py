"""Header, query and cookie values of the context."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ekiben.context import Context, Request, Response
from ekiben.http_values import Headers, MutableHeaders


def test_headers_are_case_insensitive() -> None:
    headers = Headers([("content-type", "a"), ("x-two", "1"), ("X-Two", "2")])
    assert (headers["Content-Type"], headers.get("X-TWO"), headers.get("none")) == ("a", "1", None)
    assert headers.getlist("x-two") == ["1", "2"]
    assert "CONTENT-TYPE" in headers
    assert dict(headers) == {"content-type": "a", "x-two": "1"} or len(headers) == 2


def test_mutable_headers() -> None:
    headers = MutableHeaders([("a", "1"), ("b", "1"), ("a", "2")])
    headers["A"] = "3"
    assert headers.multi_items() == [("a", "3"), ("b", "1")]
    headers.append("b", "2")
    assert headers.setdefault("c", "1") == headers.setdefault("c", "2") == "1"
    headers |= {"d": "1"}
    assert (headers | {"e": "1"})["e"] == "1"
    assert "e" not in headers
    del headers["B"]
    assert headers.multi_items() == [("a", "3"), ("c", "1"), ("d", "1")]


def test_request() -> None:
    request = Request(query="a=1&a=2&b=&c=%C3%A4", headers=[["cookie", 'x=1; y="q"; plain']], body=b'{"k": 1}')
    assert (request.query_params["a"], request.query_params["b"], request.query_params["c"]) == ("2", "", "ä")
    assert request.query_params.getlist("a") == ["1", "2"]
    assert request.cookies == {"x": "1", "y": "q", "": "plain"}
    assert asyncio.run(request.json()) == {"k": 1}
    assert asyncio.run(request.body()) == b'{"k": 1}'
    assert request.content_type == "application/json"
    request.state.user = "me"
    assert request.state.user == "me"


def test_cookies_as_headers() -> None:
    response = Response()
    response.set_cookie("a", "b c")
    response.set_cookie("s", "v", max_age=5, domain="d", secure=True, httponly=True, samesite="strict", path="/p")
    assert response.all_headers() == [
        ("set-cookie", 'a="b c"; Path=/; SameSite=lax'),
        ("set-cookie", "s=v; Domain=d; HttpOnly; Max-Age=5; Path=/p; SameSite=strict; Secure"),
    ]


def test_temp_dir_lives_as_long_as_the_request() -> None:
    request = Request()
    Context.enter(request, Response())
    folder = Path(Context().temp_dir)
    (folder / "f").write_text("x")
    assert folder == Path(Context().temp_dir)
    request.close()
    assert not folder.exists()


def test_calls_at_once_see_their_own_request() -> None:
    context = Context()

    async def call(path: str) -> str:
        Context.enter(Request(path=path), Response())
        await asyncio.sleep(0.01)
        return context.request.path

    async def both() -> list[str]:
        return await asyncio.gather(call("/a"), call("/b"))

    assert asyncio.run(both()) == ["/a", "/b"]


@pytest.mark.parametrize(("name", "value"), [("a", "x\r\nset-cookie: y"), ("a\nb", "x"), ("", "x"), ("a", "\0")])
def test_a_header_cannot_smuggle_another(name: str, value: str) -> None:
    headers = MutableHeaders()
    with pytest.raises(ValueError, match="line break"):
        headers[name] = value
    with pytest.raises(ValueError, match="line break"):
        headers.append(name, value)


def test_header_values_become_text() -> None:
    headers = MutableHeaders()
    headers["n"] = 5
    assert headers.multi_items() == [("n", "5")]
