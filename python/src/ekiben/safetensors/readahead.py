"""Brings the pages of mapped files into memory while the caller goes on: from the disk, several parts at a time."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

# What a thread asks for and then waits for.
PART = 4 << 20
# The kernel reads no more for one call than the device's read-ahead, and does not say so; this is its default.
LEAST_STEP = 128 << 10
# The variable that turns reading ahead off, here and in the front, and what means no.
SWITCH = "EKIBEN_READ_AHEAD"
NO = ("0", "false", "no", "off")
# Of the memory that is free, the part that is not filled.
RESERVE_PART = 8


def read_ahead(paths: Sequence[str], threads: int) -> None:
    """Begin to read files in order, if they fit into free memory; nothing that goes wrong here matters."""
    if os.environ.get(SWITCH, "").lower() in NO:
        return
    total = 0
    for path in paths:
        with contextlib.suppress(OSError):
            total += os.stat(path).st_size
    free = _free_memory()
    if not hasattr(os, "RWF_NOWAIT") or total > free - free // RESERVE_PART:
        return
    if all(_is_in_memory(file, end) for file, _, end in _parts(paths)):
        return
    parts = _Parts(paths)
    for _ in range(threads):
        threading.Thread(target=_work, args=(parts,), name="safetensors-read-ahead", daemon=True).start()


class _Parts:
    """The parts that are left to read, shared by the threads."""

    def __init__(self, paths: Sequence[str]):
        self._lock = threading.Lock()
        self._parts = _parts(paths)

    def next(self) -> tuple[_File, int, int] | None:
        with self._lock:
            return next(self._parts, None)


class _File:
    """An open file; it is closed when the last part of it has been read."""

    descriptor = -1

    def __init__(self, path: str):
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        found = os.fstat(self.descriptor)
        self.size = found.st_size
        self.step = _step(found.st_dev)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


def _parts(paths: Sequence[str]) -> Iterator[tuple[_File, int, int]]:
    for path in paths:
        try:
            file = _File(path)
        except OSError:
            continue
        for begin in range(0, file.size, PART):
            yield file, begin, min(begin + PART, file.size)


def _work(parts: _Parts) -> None:
    while True:
        part = parts.next()
        if part is None:
            return
        file, begin, end = part
        with contextlib.suppress(OSError):
            if _is_in_memory(file, end):
                continue
            for offset in range(begin, end, file.step):
                os.posix_fadvise(file.descriptor, offset, min(file.step, end - offset), os.POSIX_FADV_WILLNEED)
            os.pread(file.descriptor, 1, end - 1)


def _is_in_memory(file: _File, end: int) -> bool:
    """Tell whether the last byte before ``end`` need not be waited for, and so the part before it neither."""
    try:
        return os.preadv(file.descriptor, [bytearray(1)], end - 1, os.RWF_NOWAIT) == 1
    except OSError:
        return False


def _step(device: int) -> int:
    place = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb"
    try:
        return min(max(int(Path(place).read_text()) << 10, LEAST_STEP), PART)
    except (OSError, ValueError):
        return LEAST_STEP


def _free_memory() -> int:
    """Return the bytes that can be filled; what a container may have counts as well."""
    free = 0
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) << 10
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        # `max` is no number: there is no limit.
        with contextlib.suppress(OSError, ValueError):
            free = min(free, int(Path(limit).read_text()))
    return free
