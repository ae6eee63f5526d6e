"""The vectors of testdata/wire (docs/formats/worker-protocol.md)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ekiben.worker.frames import (
    FROM_WORKER,
    MAX_BODY,
    MAX_HEADER,
    PREFIX,
    READ_SIZE,
    TO_WORKER,
    Frame,
    FrameReader,
    ProtocolError,
    encode_frame,
)

WIRE = Path(__file__).parents[2] / "testdata" / "wire"
VECTORS = sorted(WIRE.glob("*.hex"))
INVALID = sorted((WIRE / "invalid").glob("*.hex"))


def load(path: Path) -> bytes:
    return bytes.fromhex("".join(path.read_text().split()))


def read(data: bytes, piece: int, types: frozenset[str] = TO_WORKER | FROM_WORKER) -> list[Frame]:
    """Feed ``data`` to a reader in pieces of at most ``piece`` bytes."""
    frames: list[Frame] = []
    reader = FrameReader(frames.append, types)
    while data:
        space = reader.buffer()
        count = min(len(space), piece, len(data))
        space[:count] = data[:count]
        reader.filled(count)
        data = data[count:]
    return frames


def test_every_type_has_a_vector() -> None:
    types = {read(load(path), 1 << 20)[0].type for path in VECTORS}
    assert types == TO_WORKER | FROM_WORKER


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
@pytest.mark.parametrize("piece", [1, 13, 1 << 20])
def test_vectors_are_read_and_written_back(path: Path, piece: int) -> None:
    data = load(path)
    (frame,) = read(data, piece)
    assert frame.type == path.stem.partition("-")[0]
    assert b"".join(bytes(buffer) for buffer in encode_frame(frame.header, frame.body)) == data


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_invalid_vectors_are_refused(path: Path) -> None:
    with pytest.raises(ProtocolError):
        read(load(path), 1 << 20)


def test_a_worker_refuses_the_frames_of_a_worker() -> None:
    with pytest.raises(ProtocolError, match="unknown frame type 'ready'"):
        read(load(WIRE / "ready.hex"), 1 << 20, TO_WORKER)


@pytest.mark.parametrize("piece", [1000, 1 << 20])
def test_frames_of_all_sizes_in_a_row(piece: int) -> None:
    sizes = [0, 1, READ_SIZE - 100, READ_SIZE, READ_SIZE + 1, 5, 3 * READ_SIZE, 0, 7]
    bodies = [bytes([number]) * size for number, size in enumerate(sizes)]
    data = b"".join(
        bytes(buffer)
        for number, body in enumerate(bodies)
        for buffer in encode_frame({"type": "chunk", "id": number, "pad": "x" * (number * 50_000)}, body)
    )
    frames = read(data, piece)
    assert [bytes(frame.body) for frame in frames] == bodies
    assert [frame.header["id"] for frame in frames] == list(range(len(sizes)))


def test_a_large_body_is_not_copied_for_writing() -> None:
    body = bytearray(1 << 20)
    assert encode_frame({"type": "reply", "id": 1}, body)[1] is body


def test_limits() -> None:
    assert (MAX_HEADER, MAX_BODY, PREFIX.size) == (1 << 20, 4 << 30, 12)
    with pytest.raises(ProtocolError, match="over the limit"):
        encode_frame({"type": "log", "message": "x" * MAX_HEADER})


def test_regenerate_changes_nothing(tmp_path: Path) -> None:
    copy = tmp_path / "wire"
    copy.mkdir()
    shutil.copy(WIRE / "regenerate", copy)
    subprocess.run([sys.executable, str(copy / "regenerate")], check=True)
    made = {path.relative_to(copy): path.read_bytes() for path in copy.rglob("*.hex")}
    kept = {path.relative_to(WIRE): path.read_bytes() for path in WIRE.rglob("*.hex")}
    assert made == kept
