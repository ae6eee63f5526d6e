"""Calls every API of ``service.py`` with the older clients of this Python's ``bentoml``; prints what comes.

Usage: ``calls.py HOST:PORT``.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
from typing import Any, Callable

import bentoml
import bentoml.client
import numpy as np
import pandas as pd
from PIL import Image

CALLS: list[tuple[str, str, Callable[[], dict[str, Any]]]] = [
    ("array", "double", lambda: {"inp": np.array([[1, 2]], dtype="float32")}),
    ("json", "swap", lambda: {"inp": {"a": 1}}),
    ("text", "shout", lambda: {"inp": "grüße"}),
    ("frame", "frame", lambda: {"inp": pd.DataFrame({"x": [1, 2]})}),
    ("series", "total", lambda: {"inp": pd.Series([1.5, 2])}),
    ("image", "turn", lambda: {"inp": Image.new("RGB", (4, 2), (255, 0, 0))}),
    ("file", "length", lambda: {"inp": io.BytesIO(b"12345")}),
    ("form", "named", lambda: {"x": np.array([1, 2]), "label": "l"}),
    ("form by position", "named", lambda: {"inp": np.array([1])}),
    ("error", "fail", lambda: {"inp": "x"}),
]


def described(value: Any) -> Any:
    if isinstance(value, Image.Image):
        return ["Image", value.size, value.convert("RGB").getpixel((0, 0))]
    if isinstance(value, np.ndarray):
        return ["array", str(value.dtype), value.tolist()]
    if isinstance(value, pd.DataFrame):
        return ["frame", value.to_dict(orient="list")]
    return [type(value).__name__, repr(value)]


def failed(error: Exception) -> Any:
    return ["raised", type(error).__name__, str(error)]


def with_client(client: Any) -> dict[str, Any]:
    found = {}
    for name, api, arguments in CALLS:
        try:
            found[name] = described(client.call(api, **arguments()))
        except Exception as error:
            found[name] = failed(error)
    return {
        "calls": found,
        "attribute": described(client.shout("by name")),
        "endpoints": sorted(client.endpoints),
        "health": client.health().status_code,
    }


async def with_async_client(client: Any, call: Any) -> dict[str, Any]:
    found = {}
    for name, api, arguments in CALLS:
        try:
            found[name] = described(await call(api, **arguments()))
        except Exception as error:
            found[name] = failed(error)
    return {"calls": found, "endpoints": sorted(client.endpoints)}


async def asynchronous(url: str) -> dict[str, Any]:
    async with await bentoml.client.AsyncHTTPClient.from_url(url) as client:
        return await with_async_client(client, client.call)


def main() -> None:
    url = sys.argv[1]
    host, _, port = url.partition(":")
    bentoml.client.SyncHTTPClient.wait_until_server_ready(host, int(port), timeout=30)
    with bentoml.client.SyncHTTPClient.from_url(url) as client:
        found = {"sync": with_client(client)}
    found["async"] = asyncio.run(asynchronous(url))
    with bentoml.client.Client.from_url(url) as client:
        found["either"] = sorted(client.endpoints)
    print(json.dumps(found, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
