"""Who reads the socket: the loop, or the one thread that answers calls, in a real worker process."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from front import Front

SERVICE = """
import bentoml, time

@bentoml.service
class Svc:
    def __init__(self) -> None:
        self.seen = []

    @bentoml.api
    def add(self, n: int) -> int:
        self.seen.append(n)
        return n + 1

    @bentoml.api
    def nap(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    @bentoml.api
    def all_seen(self) -> list[int]:
        return self.seen

    @bentoml.api
    def rows(self, n: int):
        for number in range(n):
            time.sleep(0.01)
            yield f"{number},"

    def __is_alive__(self) -> bool:
        return True
"""
# Longer than a thread keeps the socket without a call.
PAUSE = 0.02


@pytest.fixture
def front(tmp_path: Path):
    (tmp_path / "service.py").write_text(SERVICE)
    with Front("--target", "service:Svc", "--working-dir", str(tmp_path), cwd=tmp_path) as front:
        front.ready()
        yield front


def test_calls_one_after_the_other_and_after_pauses(front: Front) -> None:
    for round_ in range(5):
        for n in range(50):
            assert front.ask("add", {"n": n})[2] == str(n + 1).encode()
        time.sleep(PAUSE * (round_ % 2))


def test_calls_that_came_together_are_answered_in_their_order(front: Front) -> None:
    front.ask("add", {"n": 0})
    numbers = [front.call("add", {"n": n}) for n in range(100)]
    assert [front.expect("reply").header["id"] for _ in numbers] == numbers
    assert front.ask("all_seen", {})[2] == str([0, *range(100)]).encode()


def test_a_call_that_waits_behind_another_can_be_cancelled(front: Front) -> None:
    front.ask("add", {"n": 1})
    nap = front.call("nap", {"seconds": 0.3})
    waiting = front.call("add", {"n": 99})
    front.send({"type": "cancel", "id": waiting})
    replies = {front.expect("reply").header["id"]: None for _ in range(2)}
    assert list(replies) == [nap, waiting]
    assert front.ask("all_seen", {})[2] == b"[1]"


def test_a_long_call_leaves_the_socket_to_the_loop(front: Front) -> None:
    front.ask("add", {"n": 1})
    front.ask("add", {"n": 2})
    front.call("nap", {"seconds": 1.0})
    for number in (77, 78):  # the second comes when the loop reads already
        front.send({"type": "probe", "id": number, "what": "live"})
        assert front.expect("probed").header["id"] == number
    assert front.expect("reply").body == b"slept"
    assert front.ask("add", {"n": 3})[2] == b"4"


def test_a_stream_is_cancelled_while_its_thread_writes_it(front: Front) -> None:
    front.ask("add", {"n": 1})
    stream = front.call("rows", {"n": 1000})
    front.expect("stream")
    front.expect("chunk")
    front.send({"type": "cancel", "id": stream})
    while (frame := front.receive()).type == "chunk":
        pass
    assert (frame.type, frame.header["error"]) == ("end", "the call was cancelled")
    assert front.ask("add", {"n": 3})[2] == b"4"


@pytest.mark.parametrize("pause", [0.0, PAUSE])
def test_the_end_of_the_socket_ends_the_worker(front: Front, pause: float) -> None:
    front.ask("add", {"n": 1})
    time.sleep(pause)
    front.socket.shutdown(1)
    assert front.exit_status() == 0


@pytest.mark.parametrize("pause", [0.0, PAUSE])
def test_draining_ends_the_worker(front: Front, pause: float) -> None:
    front.ask("add", {"n": 1})
    time.sleep(pause)
    front.send({"type": "drain"})
    assert front.exit_status() == 0


@pytest.mark.parametrize("pause", [0.0, PAUSE])
def test_what_the_protocol_does_not_allow_ends_the_worker(front: Front, pause: float) -> None:
    front.ask("add", {"n": 1})
    time.sleep(pause)
    front.socket.sendall(b"\xff" * 12)
    front.exit_status()
    assert "header length" in front.stderr()
