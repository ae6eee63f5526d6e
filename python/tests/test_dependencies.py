"""Dependencies that run elsewhere: at a URL, or as a deployment of the cloud."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import bentoml
import pytest
from bentoml.exceptions import BentoMLException, CloudRESTApiClientError, NotFound
from front import Front
from http_script import Script, answer, chunks, schema, scripted, unused_port

MAIN = """
    import os
    from typing import Generator
    from pydantic import BaseModel

    class Item(BaseModel):
        a: int

    @bentoml.service
    class Other:
        @bentoml.api
        def double(self, x: int) -> int:
            return 0
        @bentoml.api
        async def item(self, item: Item, label: str = "l") -> Item:
            return item
        @bentoml.api
        def count(self, n: int) -> Generator[str, None, None]:
            yield ""

    @bentoml.service(name="Svc")
    class Svc:
        other = bentoml.depends(Other, url=os.environ["OTHER"])
        bare = bentoml.depends(url=os.environ["OTHER"])

        @bentoml.api
        def twice(self, x: int) -> list:
            both = [self.other.double(x), self.other.double(x=x)]
            return [*both, self.bare.to_sync.double(x), list(self.other.count(2))]

        @bentoml.api
        async def awaited(self, x: int) -> list:
            item = await self.other.item(Item(a=x))
            assert type(item) is Item, item
            return [item.a, await self.other.to_async.double(x), await self.bare.to_async.double(x)]

        @bentoml.api
        def wrong(self, how: str) -> int:
            if how == "type":
                return self.other.double(x="no number")
            if how == "name":
                return self.other.treble(1)
            return self.bare.double(1)
"""


@pytest.fixture
def other() -> Iterator[Script]:
    double = {"name": "double", "input": {"properties": {"x": {}}}, "output": {"type": "integer"}}
    with scripted(double=answer(body=b"4"), item=answer(body=b'{"a": 5}'), count=chunks(b"a", b"b")) as script:
        script.answers["/schema.json"] = schema(double)
        yield script


def test_apis_elsewhere_are_called_in_either_style(serve: Callable[..., Front], other: Script) -> None:
    front = serve(MAIN, env={"OTHER": other.url})
    described = front.ready()
    assert described["units"] == []  # it has no workers here
    trace = {
        "content-type": "application/json",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    status, _, body = front.ask("twice", {"x": 2}, headers=trace)
    assert (status, json.loads(body)) == (200, [4, 4, 4, ["a", "b"]])
    [seen, *_] = other.asked("/double")
    assert json.loads(seen.body) == {"x": 2}
    assert seen.headers["traceparent"] == trace["traceparent"]
    assert (seen.headers["runner-name"], seen.headers["bento-version"]) == ("Other", "not available")
    status, _, body = front.ask("awaited", {"x": 3})
    assert (status, json.loads(body)) == (200, [5, 4, 4])
    assert json.loads(other.asked("/item")[0].body) == {"item": {"a": 3}, "label": "l"}


def said(front: Front) -> str:
    return " ".join(str(log) for log in front.logs)


def test_mistakes_are_told_to_who_makes_them(serve: Callable[..., Front], other: Script) -> None:
    front = serve(MAIN, env={"OTHER": other.url})
    front.ready()
    status, _, body = front.ask("wrong", {"how": "type"})
    assert (status, json.loads(body)["detail"][0]["type"]) == (400, "int_parsing")
    assert other.asked("/double") == []
    for how in ("name", "style"):
        assert front.ask("wrong", {"how": how})[0] == 500
    assert "calling non-api method treble is not allowed" in said(front)
    assert "use `.to_async.double` or `.to_sync.double`" in said(front)


def test_a_service_starts_without_the_other_one(serve: Callable[..., Front]) -> None:
    front = serve(MAIN, env={"OTHER": f"http://127.0.0.1:{unused_port()}"})
    front.ready()
    assert front.ask("twice", {"x": 2})[0] == 500
    assert "cannot reach `http://127.0.0.1:" in said(front)


def test_the_errors_of_the_other_one_are_passed_on(serve: Callable[..., Front], other: Script) -> None:
    front = serve(MAIN, env={"OTHER": other.url})
    front.ready()
    for body in (b'[{"error": "none \\u00e4"}]', b'{"error": "none \\u00e4"}', "none ä".encode()):
        other.answers["/double"] = answer(404, body)
        status, _, body = front.ask("twice", {"x": 2})
        # Told once, not as JSON inside of JSON.
        assert (status, json.loads(body)) == (404, [{"error": "none ä"}])


def owner_of(**where: Any) -> Any:
    class Owner:
        other = bentoml.depends(**where)

    return Owner()


def test_a_deployment_is_found_through_the_cloud(other: Script, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENTO_CLOUD_API_KEY", raising=False)
    with scripted() as cloud:
        path = "/api/v2/deployments/my-model"
        cloud.answers[path] = answer(body=json.dumps({"urls": [other.url]}).encode())
        home.mkdir(parents=True, exist_ok=True)
        (home / ".yatai.yaml").write_text(
            f"contexts:\n- name: default\n  endpoint: {cloud.url}\n  api_token: s3cret\ncurrent_context_name: default\n"
        )
        assert owner_of(deployment="my-model", cluster="east").other.to_sync.double(1) == 4
        [seen] = cloud.asked(path)
        assert (seen.path, seen.headers["x-yatai-api-token"]) == (f"{path}?cluster=east", "s3cret")
        assert "s3cret" not in str(other.seen)
        monkeypatch.setenv("BENTO_CLOUD_API_KEY", "of-environment")
        monkeypatch.setenv("BENTO_CLOUD_API_ENDPOINT", cloud.url)
        assert owner_of(deployment="my-model").other.to_sync.double(1) == 4
        assert cloud.seen[-1].headers["x-yatai-api-token"] == "of-environment"
        cloud.answers[path] = answer(body=b'{"urls": []}')
        with pytest.raises(BentoMLException, match="Deployment my-model does not have any URLs"):
            _ = owner_of(deployment="my-model").other
        cloud.answers[path] = answer(403, b"s3cret")
        with pytest.raises(CloudRESTApiClientError, match="answered 403"):
            _ = owner_of(deployment="my-model").other
        with pytest.raises(NotFound, match="Deployment none is not found"):
            _ = owner_of(deployment="none").other


def test_a_deployment_needs_a_login(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENTO_CLOUD_API_KEY", raising=False)
    with pytest.raises(CloudRESTApiClientError, match="nobody is logged in: run `ekiben cloud login`"):
        _ = owner_of(deployment="my-model").other
    home.mkdir(parents=True, exist_ok=True)
    (home / ".yatai.yaml").write_text("contexts: []\ncurrent_context_name: default\n")
    with pytest.raises(CloudRESTApiClientError, match="has no login of the current context"):
        _ = owner_of(deployment="my-model").other


def test_url_and_deployment_exclude_each_other() -> None:
    with pytest.raises(BentoMLException, match="Cannot specify both deployment and url"):
        bentoml.depends(url="http://x", deployment="d")
