"""Streams of a real worker over a real socket pair (docs/formats/worker-protocol.md)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable

import pytest
from front import Front

Serve = Callable[..., Front]

STREAMS = """
import asyncio, pathlib
@bentoml.service
class Svc:
    @bentoml.api
    def numbers(self, n: int, fail_at: int = -1) -> "t.Iterator[int]":
        try:
            for i in range(n):
                if i == fail_at:
                    raise ValueError("no more")
                yield i
        finally:
            self.closed = True
    @bentoml.api
    async def later(self, n: int, fail_at: int = -1) -> "t.AsyncIterator[int]":
        try:
            for i in range(n):
                if i == fail_at:
                    raise ValueError("no more")
                await asyncio.sleep(0)
                yield i
        finally:
            self.closed = True
    @bentoml.api
    async def forever(self) -> "t.AsyncIterator[str]":
        try:
            while True:
                yield "x" * 100_000
        finally:
            self.closed = True
    @bentoml.api
    def endless(self) -> "t.Iterator[str]":
        try:
            while True:
                yield "x" * 100_000
        finally:
            self.closed = True
    @bentoml.api
    def given(self) -> "t.Iterator[str]":
        return (letter for letter in "ab")
    @bentoml.api
    async def was_closed(self) -> bool:
        return self.closed
"""


@pytest.mark.parametrize("endpoint", ["numbers", "later"])
def test_streams(serve: Serve, endpoint: str) -> None:
    front = serve("import typing as t" + STREAMS)
    front.ready()
    for n in (3, 0):
        call_id = front.call(endpoint, {"n": n})
        head = front.expect("stream").header
        assert (head["id"], head["status"]) == (call_id, 200)
        assert head["headers"] == [["content-type", "text/event-stream; charset=utf-8"]]
        assert [bytes(front.expect("chunk").body) for _ in range(n)] == [b"0", b"1", b"2"][:n]
        assert front.expect("end").header == {"type": "end", "id": call_id, "error": None}
    # before the first item an error is an ordinary answer, afterwards it ends the stream
    assert front.ask(endpoint, {"n": 3, "fail_at": 0})[0] == 500
    call_id = front.call(endpoint, {"n": 3, "fail_at": 1})
    assert [front.receive().type for _ in range(2)] == ["stream", "chunk"]
    assert front.expect("end").header == {"type": "end", "id": call_id, "error": "ValueError: no more"}


def test_a_function_may_return_a_generator(serve: Serve) -> None:
    front = serve("import typing as t" + STREAMS)
    endpoints = {entry["name"]: entry["is_stream"] for entry in front.ready()["endpoints"]}
    assert endpoints == {
        "numbers": True, "later": True, "forever": True, "endless": True, "given": False, "was_closed": False
    }  # fmt: skip
    front.call("given")
    assert [front.receive().type for _ in range(4)] == ["stream", "chunk", "chunk", "end"]


@pytest.mark.parametrize("endpoint", ["forever", "endless"])
def test_a_slow_reader_holds_a_stream_up_and_cancel_ends_it(serve: Serve, endpoint: str) -> None:
    front = serve("import typing as t" + STREAMS)
    front.ready()
    call_id = front.call(endpoint)
    front.expect("stream")
    # Read nothing for a while: the worker must not pile up what nobody takes.
    time.sleep(0.5)
    memory = Path(f"/proc/{front.process.pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in memory.splitlines() if line.startswith("VmRSS"))
    assert resident < 200_000  # KiB; a second of unlimited items would be gigabytes
    front.send({"type": "cancel", "id": call_id})
    while (frame := front.receive()).type == "chunk":
        pass
    assert (frame.type, frame.header["id"], frame.header["error"]) == ("end", call_id, "the call was cancelled")
    assert front.ask("was_closed")[2] == b"true"
