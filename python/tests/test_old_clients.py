"""`bentoml.client`: what is no service of functions, and servers that do not come up.

That calls are understood is `tests/it/e2e_clients.rs`.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import bentoml.client
import pytest
from bentoml.exceptions import BentoMLException, RemoteException
from http_script import Script, answer, scripted, unused_port

from ekiben.unsupported import NotSupportedYet

DESCRIPTOR = "x-bentoml-io-descriptor"
TEXT = {"id": "bentoml.io.Text", "args": {}}


def document(**operation: Any) -> bytes:
    described = {
        "tags": ["Service APIs"],
        "x-bentoml-name": "shout",
        "requestBody": {DESCRIPTOR: TEXT},
        "responses": {"200": {DESCRIPTOR: TEXT}},
        **operation,
    }
    infrastructure = {"get": {"tags": ["Infrastructure"]}}
    return json.dumps({"paths": {"/deep/shout": {"post": described}, "/livez": infrastructure}}).encode()


def served(script: Script, content: bytes) -> Any:
    script.answers["/docs.json"] = answer(body=content)
    return bentoml.client.Client.from_url(script.url.removeprefix("http://"))


def test_a_client_has_every_api_in_both_styles() -> None:
    with scripted(deep__shout=lambda seen, handler: answer(body=seen.body.upper())(seen, handler)) as script:
        client = served(script, document())
        assert (client.shout("a"), client.call("shout", "b"), client.health().status_code) == ("A", "B", 200)
        assert asyncio.run(client.async_shout("c")) == "C"
        assert script.asked("/deep/shout")[0].headers["content-type"].startswith("text/plain")
        assert client.endpoints == ["shout"]
        with pytest.raises(BentoMLException, match="has no API `nope`"):
            client.call("nope", 1)
        with pytest.raises(TypeError, match="takes one input, not `x`"):
            client.shout(x=1)
        script.answers["/deep/shout"] = answer(500, b"why")
        with pytest.raises(BentoMLException, match="Error making request: 500: b'why'"):
            client.shout("a")


def test_other_services_are_refused_with_what_to_use() -> None:
    with scripted() as script:
        with pytest.raises(BentoMLException, match="Malformed BentoML spec received .* use `bentoml.SyncHTTPClient`"):
            served(script, document(requestBody={}))
        with pytest.raises(BentoMLException, match="No APIs were found"):
            served(script, b'{"paths": {}}')
        script.answers["/docs.json"] = answer(404)
        with pytest.raises(RemoteException, match="Failed to get OpenAPI schema from the server: 404"):
            asyncio.run(bentoml.client.AsyncHTTPClient.from_url(script.url))
    with pytest.raises(NotSupportedYet, match="grpc"):
        bentoml.client.Client.from_url("http://127.0.0.1:1", kind="grpc")
    with pytest.raises(NotSupportedYet, match=r"bentoml\.client\.GrpcClient"):
        _ = bentoml.client.GrpcClient


def test_waiting_ends_in_time() -> None:
    with scripted() as script:
        host, _, port = script.url.removeprefix("http://").partition(":")
        bentoml.client.SyncClient.wait_until_server_ready(host, int(port))
        asyncio.run(bentoml.client.AsyncHTTPClient.wait_until_server_ready(host, int(port)))
    with pytest.raises(TimeoutError, match="Timed out waiting 0.2 seconds"):
        bentoml.client.SyncHTTPClient.wait_until_server_ready("127.0.0.1", unused_port(), timeout=0.2)
