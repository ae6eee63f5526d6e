"""Calls every API of ``service.py`` with the clients of this Python's ``bentoml``, and prints what came.

Usage: ``calls.py URL``. Upstream's client and ekiben's run it against both servers: the prints
are equal.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

import bentoml
import numpy as np
import pandas as pd
from PIL import Image
from pydantic import BaseModel

MADE = Path(tempfile.mkdtemp())
NOTE = MADE / "note.txt"
NOTE.write_text("a note")
PICTURE = MADE / "picture.png"
Image.new("RGB", (4, 2), (255, 0, 0)).save(PICTURE)


IS_OURS = bentoml.SyncHTTPClient.__module__.startswith("ekiben")


class Mine(BaseModel):
    a: float
    note: str = "mine"


# name, endpoint, arguments (made anew for every client)
CALLS: list[tuple[str, str, Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]]] = [
    ("by name", "add", lambda: ((), {"a": 1, "b": 2})),
    ("by position", "add", lambda: ((1, 2), {})),
    ("default", "add", lambda: ((5,), {})),
    ("missing", "add", lambda: ((), {"b": 2})),
    ("unknown", "add", lambda: ((), {"a": 2, "c": 3})),
    ("twice", "add", lambda: ((1,), {"a": 3})),
    ("wrong type", "add", lambda: ((), {"a": "x"})),
    ("route", "say", lambda: ((), {"text": "grüße"})),
    ("taken name", "request", lambda: (("me",), {})),
    ("bytes", "raw", lambda: ((), {})),
    ("none", "nothing", lambda: ((), {})),
    ("dict for a model", "item", lambda: ((), {"item": {"a": 1}})),
    ("list of dicts", "items", lambda: ((), {"items": [{"a": 1}], "first": {"a": 2, "note": "n"}})),
    ("untyped", "untyped", lambda: ((), {"value": {"k": [1, 2.5, None, "ä"]}})),
    ("keywords", "keywords", lambda: ((), {"a": 1, "kwargs": {"z": 2}})),
    ("root text", "root_text", lambda: (('say "it"',), {})),
    ("root dict", "root_item", lambda: (({"a": 3},), {})),
    ("root list", "root_list", lambda: (([1, 2],), {})),
    ("root array", "root_array", lambda: ((np.array([[1.5, 2.0]]),), {})),
    ("root list for an array", "root_array", lambda: (([[1, 2]],), {})),
    ("root path", "root_file", lambda: ((NOTE,), {})),
    ("root text path", "root_file", lambda: ((str(NOTE),), {})),
    ("array", "array", lambda: ((), {"x": np.array([[1, 2], [3, 4]], dtype="float32")})),
    ("flat list for an array", "array", lambda: ((), {"x": [1, 2, 3, 4]})),
    ("arrays", "arrays", lambda: ((), {"xs": [np.array([1.5]), np.array([[1, 2]])]})),
    ("frame", "frame", lambda: ((), {"df": pd.DataFrame({"x": [1, 2], "y": [0.5, 1.5]})})),
    ("path", "file", lambda: ((), {"file": NOTE, "label": "l", "n": 4})),
    ("text path", "file", lambda: ((), {"file": str(NOTE), "label": 'a "quoted" ä'})),
    ("label that is a number", "file", lambda: ((NOTE, "123"), {})),
    ("paths", "files", lambda: ((), {"files": [NOTE, NOTE]})),
    ("file as answer", "make_file", lambda: ((), {"text": "made"})),
    ("opened image", "turn", lambda: ((), {"image": Image.open(PICTURE)})),
    ("path of an image", "size", lambda: ((), {"image": PICTURE, "scale": 2.0})),
    ("text stream", "stream_text", lambda: ((), {})),
    ("empty stream", "stream_text", lambda: ((), {"n": 0})),
    ("dict stream", "stream_dicts", lambda: ((), {"n": 2})),
    ("bytes stream", "stream_bytes", lambda: ((), {})),
    *((f"fails: {how}", "fail", lambda how=how: ((), {"how": how}))
      for how in ("argument", "missing", "busy", "teapot", "value")),
    ("fails before the stream", "fail_stream", lambda: ((), {})),
    ("no such endpoint", "no_such", lambda: ((), {})),
    ("token", "authorization", lambda: ((), {})),
    ("task at once", "work", lambda: ((), {"x": 3})),
]  # fmt: skip

# What upstream's client cannot do, or does not do well.
ONLY_OURS: list[tuple[str, str, Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]]] = [
    ("too many", "add", lambda: ((1, 2, 3), {})),
    ("model for a model", "item", lambda: ((), {"item": Mine(a=1)})),
    ("root model", "root_item", lambda: ((Mine(a=1),), {})),
    ("models in a list", "items", lambda: ((), {"items": [Mine(a=1), {"a": 2}]})),
    (
        "array where anything goes",
        "untyped",
        lambda: ((), {"value": {"x": np.arange(3), "n": np.float32(0.5)}}),
    ),
    ("open file", "file", lambda: ((io.BytesIO(b"from memory"),), {})),
    ("bytes for a file", "file", lambda: ((b"from bytes",), {})),
    ("root open file", "root_file", lambda: ((io.BytesIO(b"from memory"),), {})),
    ("made image", "turn", lambda: ((Image.new("RGB", (3, 1)),), {})),
    ("no file", "file", lambda: ((5,), {})),
]


def described(value: Any) -> Any:
    """Return a value as text that tells its type, without what differs from run to run."""
    if isinstance(value, Path):
        assert not IS_OURS or value.name.endswith("made file.txt"), value
        return ["Path", value.read_text()]
    if isinstance(value, Image.Image):
        return ["Image", value.format, value.size, value.convert("RGB").getpixel((0, 0))]
    if isinstance(value, np.ndarray):
        return ["array", str(value.dtype), value.tolist()]
    if isinstance(value, pd.DataFrame):
        return ["frame", value.to_dict(orient="list")]
    return [type(value).__name__, repr(value)]


def failed(error: Exception) -> Any:
    code = getattr(error, "error_code", None)
    return ["raised", type(error).__name__, str(error), None if code is None else int(code)]


def outcomes_of(client: Any, calls: list[Any]) -> dict[str, Any]:
    found = {}
    for name, endpoint, arguments in calls:
        args, kwargs = arguments()
        try:
            value = client.call(endpoint, *args, **kwargs)
            if "stream" in endpoint:
                value = join(value)
            found[name] = described(value)
        except Exception as error:
            found[name] = failed(error)
    return found


async def async_outcomes_of(client: Any, calls: list[Any]) -> dict[str, Any]:
    found = {}
    for name, endpoint, arguments in calls:
        if endpoint == "root_file" and not IS_OURS:
            continue  # upstream's client cannot send one from a loop
        args, kwargs = arguments()
        try:
            value = client.call(endpoint, *args, **kwargs)
            value = join([item async for item in value]) if "stream" in endpoint else await value
            found[name] = described(value)
        except Exception as error:
            found[name] = failed(error)
    return found


def join(items: Any) -> Any:
    """Return a stream's items; text in one piece, as the network cuts it anywhere."""
    items = list(items)
    return "".join(items) if items and isinstance(items[0], str) else items


def attributes(client: Any) -> list[str]:
    """Return the APIs that are attributes of a client; one has a name that is taken."""
    return sorted(
        name for name in [*client.endpoints, "api_request"] if callable(getattr(client, name, None))
    )


def sync_tasks(client: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, x in {"done": 4, "failed": -1}.items():
        task = client.work.submit(x=x)
        wait_for(lambda task=task: task.get_status().value not in ("in_progress", "pending"))
        found[name] = [task.get_status().name, outcome(task.get)]
    again = task.retry()
    found["retried"] = [again.id != task.id, type(again).__name__]
    waiting = client.wait.submit(seconds=5)
    found["not over"] = [part.replace(waiting.id, "ID") for part in map(str, outcome(waiting.get))]
    found["unknown"] = outcome(lambda: type(task)("0" * 32, task.endpoint, client).get_status())
    found["by function"] = client.work.get_status(task_id=task.id).name
    return found


async def async_tasks(client: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, x in {"done": 4, "failed": -1}.items():
        task = await client.work.submit(x=x)
        while (await task.get_status()).value in ("in_progress", "pending"):
            await asyncio.sleep(0.02)
        try:
            found[name] = [(await task.get_status()).name, described(await task.get())]
        except Exception as error:
            found[name] = [(await task.get_status()).name, failed(error)]
    return found


def outcome(act: Callable[[], Any]) -> Any:
    try:
        return described(act())
    except Exception as error:
        return failed(error)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "the task does not end"
        time.sleep(0.02)


async def asynchronous(url: str) -> dict[str, Any]:
    try:
        getattr(bentoml.AsyncHTTPClient(url), "add")  # noqa: B009 (that it is an attribute is what counts)
    except RuntimeError as error:
        before = str(error)
    async with bentoml.AsyncHTTPClient(url, token="s3cret") as client:
        found = {
            "before": before,
            "ready": await client.is_ready(),
            "calls": await async_outcomes_of(client, CALLS),
            "attributes": attributes(client),
            "tasks": await async_tasks(client),
        }
        if IS_OURS:
            found["ours"] = await async_outcomes_of(client, ONLY_OURS)
            together = await asyncio.gather(*(client.add(a=n) for n in range(300)))
            assert together == [n + 1 for n in range(300)], together
            assert "s3cret" not in repr(client)
    return found


def synchronous(url: str) -> dict[str, Any]:
    with bentoml.SyncHTTPClient(url, token="s3cret") as client:
        found = {
            "ready": client.is_ready(),
            "calls": outcomes_of(client, CALLS),
            "attributes": attributes(client),
        }
        if IS_OURS:  # upstream's client cannot submit
            found["tasks"] = sync_tasks(client)
            found["ours"] = outcomes_of(client, ONLY_OURS)
            assert "s3cret" not in repr(client)
    return found


def main() -> None:
    url = sys.argv[1]
    os.environ.pop("BENTO_CLOUD_API_KEY", None)
    found = {"sync": synchronous(url), "async": asyncio.run(asynchronous(url))}
    print(json.dumps(found, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
