"""Bodies in memory that workers share (docs/adr/0011)."""

from __future__ import annotations

import array
import fcntl
import math
import os
import socket
from collections.abc import Iterator

import pytest

from ekiben.worker import shared
from ekiben.worker.frames import Frame, FrameReader, ProtocolError, encode_frame, encode_shared_frame
from ekiben.worker.shared import SEALS, SharedBodies


@pytest.fixture
def ends() -> Iterator[tuple[SharedBodies, SharedBodies]]:
    """Return the ends of two workers, as if the front passed everything on."""
    one, other = (SharedBodies(end, smallest=10) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    yield one, other
    one.close()
    other.close()


def open_files() -> int:
    """Return how many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


def test_a_body_is_written_once_and_can_be_changed_by_its_owner(ends: tuple[SharedBodies, SharedBodies]) -> None:
    one, other = ends
    sent: list[str] = []
    assert one.offer([b"12345", bytearray(b"67890"), memoryview(b"")], 10, lambda: sent.append("frame"))
    assert sent == ["frame"]
    body = other.take(10)
    assert bytes(body) == b"1234567890"
    body[0] = ord("x")
    assert bytes(body[:2]) == b"x2"


def test_small_bodies_are_not_shared(ends: tuple[SharedBodies, SharedBodies]) -> None:
    assert not ends[0].offer([b"123456789"], 9, lambda: pytest.fail("a frame was sent"))


def test_a_system_without_such_files_uses_the_socket(
    ends: tuple[SharedBodies, SharedBodies], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError("not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert not ends[0].offer([bytes(100)], 100, lambda: pytest.fail("a frame was sent"))


def test_the_variable_says_from_when_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, expected in [("off", math.inf), ("5", 5), ("", shared.SHARED_FROM), ("much", shared.SHARED_FROM)]:
        monkeypatch.setenv(shared.VARIABLE, text)
        assert shared._configured() == expected


def test_a_front_that_takes_nothing_is_sent_no_more_and_nothing_leaks(ends: tuple[SharedBodies, SharedBodies]) -> None:
    before = open_files()
    passed = 0
    while ends[0].offer([bytes(10)], 10, lambda: None):
        passed += 1
        assert passed < 10_000
    assert passed > 10
    assert open_files() == before
    for _ in range(passed):
        ends[1].take(10).release()
    assert open_files() == before


def test_what_is_missing_or_wrong_is_refused(ends: tuple[SharedBodies, SharedBodies]) -> None:
    one, other = ends
    before = open_files()
    with pytest.raises(ProtocolError, match="missing"):
        other.take(10)
    assert one.offer([bytes(10)], 10, lambda: None)
    with pytest.raises(ProtocolError, match="not as long"):
        other.take(11)
    one._socket.send(b"x")
    with pytest.raises(ProtocolError, match="no descriptor"):
        other.take(10)
    assert open_files() == before


def test_nobody_can_change_what_was_sent() -> None:
    descriptor = shared._filled([b"abc"], 3)
    try:
        assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) == SEALS
        with pytest.raises(PermissionError):
            os.write(descriptor, b"x")
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 1)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("piece", [1, 13, 1 << 20])
def test_frames_without_bodies_stand_between_others(piece: int) -> None:
    """The length of a body that is elsewhere has its highest bit set."""
    data = b"".join(
        bytes(buffer)
        for buffer in [
            *encode_frame({"type": "item", "id": 1}, b"here"),
            *encode_shared_frame({"type": "outcome", "id": 2, "status": 200}, 77),
            *encode_frame({"type": "done", "id": 3, "error": None}),
        ]
    )
    frames: list[Frame] = []
    asked: list[int] = []

    def take(length: int) -> bytes:
        asked.append(length)
        return b"elsewhere"

    reader = FrameReader(frames.append, take_shared=take)
    while data:
        space = reader.buffer()
        count = min(len(space), piece, len(data))
        space[:count] = data[:count]
        reader.filled(count)
        data = data[count:]
    assert [(frame.type, bytes(frame.body)) for frame in frames] == [
        ("item", b"here"),
        ("outcome", b"elsewhere"),
        ("done", b""),
    ]
    assert asked == [77]


@pytest.mark.parametrize("length", [0, (4 << 30) + 1, (1 << 63) - 1])
def test_lengths_over_the_limit_are_refused(length: int) -> None:
    data = encode_shared_frame({"type": "item", "id": 1}, length)[0]
    reader = FrameReader(lambda frame: None, take_shared=lambda length: b"")
    reader.buffer()[: len(data)] = data
    with pytest.raises(ProtocolError, match="over the limit"):
        reader.filled(len(data))
    reader = FrameReader(lambda frame: None)
    data = encode_shared_frame({"type": "item", "id": 1}, 5)[0]
    reader.buffer()[: len(data)] = data
    with pytest.raises(ProtocolError):
        reader.filled(len(data))


def test_a_descriptor_too_many_is_no_body(ends: tuple[SharedBodies, SharedBodies]) -> None:
    """The kernel closes what there is no room for."""
    one, other = ends
    descriptors = array.array("i", [shared._filled([bytes(10)], 10) for _ in range(3)])
    one._socket.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
    for descriptor in descriptors:
        os.close(descriptor)
    before = open_files()
    with pytest.raises(ProtocolError):
        other.take(10)
    assert open_files() == before
