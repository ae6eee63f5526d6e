"""``Contents``: the bytes of one file in memory: mapped, or read by several threads where that is impossible."""

from __future__ import annotations

import mmap as memory
import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .errors import SafetensorsError, unreadable
from .header import PREFIX, Header, header_length, parse_header

# What a thread reads at once.
PART = 16 << 20
# A private mapping of a file larger than the memory is no promise that all of it will be written to. Python names this
# from 3.13 on; the number is Linux's.
MAP_NORESERVE = getattr(memory, "MAP_NORESERVE", 0x4000) if sys.platform == "linux" else 0


@dataclass(frozen=True)
class Contents:
    """A file's header and the buffer with its tensors, which begin at ``start``."""

    path: str
    header: Header
    buffer: memory.mmap
    start: int
    is_mapped: bool


def read_contents(path: str, *, mmap: bool, threads: int) -> Contents:
    """Map or read a file and check all that its header says."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            return _of_file(path, descriptor, found.st_size, mmap=mmap, threads=threads)
        return _of_stream(path, descriptor)
    except OSError as error:
        raise unreadable(path, error) from error
    finally:
        os.close(descriptor)


def _of_file(path: str, descriptor: int, size: int, *, mmap: bool, threads: int) -> Contents:
    length = header_length(path, os.pread(descriptor, PREFIX, 0))
    start = PREFIX + length
    if start > size:
        raise SafetensorsError(path, f"its header of {length} bytes is cut off: the file has {size} bytes")
    header = parse_header(path, os.pread(descriptor, length, PREFIX))
    if start + header.data_size != size:
        raise SafetensorsError(path, f"it has {size} bytes instead of {start + header.data_size}")
    if mmap:
        mapped = _map(descriptor, size)
        if mapped is not None:
            return Contents(path, header, mapped, start, is_mapped=True)
    return Contents(path, header, _read(path, descriptor, start, header.data_size, threads), 0, is_mapped=False)


def _map(descriptor: int, size: int) -> memory.mmap | None:
    """Map a file so that writes stay in this process; None where the file system cannot."""
    try:
        return memory.mmap(
            descriptor,
            size,
            flags=memory.MAP_PRIVATE | MAP_NORESERVE,
            prot=memory.PROT_READ | memory.PROT_WRITE,
        )
    except (OSError, ValueError):
        return None


def _read(path: str, descriptor: int, start: int, size: int, threads: int) -> memory.mmap:
    buffer = _allocate(size)
    view = memoryview(buffer)

    def read_part(begin: int) -> None:
        end = min(begin + PART, size)
        while begin < end:
            count = os.preadv(descriptor, [view[begin:end]], start + begin)
            if count == 0:
                raise SafetensorsError(path, "it was shortened while it was read")
            begin += count

    with ThreadPoolExecutor(threads, thread_name_prefix="safetensors") as pool:
        for _ in pool.map(read_part, range(0, size, PART)):
            pass
    return buffer


def _of_stream(path: str, descriptor: int) -> Contents:
    """Read what can be read only once and in order: a pipe, a device."""
    length = header_length(path, _take(descriptor, PREFIX))
    raw = _take(descriptor, length)
    if len(raw) < length:
        raise SafetensorsError(path, f"its header of {length} bytes is cut off after {len(raw)} bytes")
    header = parse_header(path, raw)
    buffer = _allocate(header.data_size)
    view, begin = memoryview(buffer), 0
    while begin < header.data_size:
        count = os.readv(descriptor, [view[begin : min(begin + PART, header.data_size)]])
        if count == 0:
            raise SafetensorsError(path, f"it ends after {begin} of {header.data_size} bytes of tensors")
        begin += count
    if os.read(descriptor, 1):
        raise SafetensorsError(path, f"it goes on after its {header.data_size} bytes of tensors")
    return Contents(path, header, buffer, 0, is_mapped=False)


def _take(descriptor: int, count: int) -> bytes:
    """Read so many bytes, or fewer at the end."""
    parts = []
    while count > 0:
        part = os.read(descriptor, min(count, PART))
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _allocate(size: int) -> memory.mmap:
    # An empty mapping is not allowed; a shared one, the default, would be shared with forked processes.
    return memory.mmap(-1, max(size, 1), flags=memory.MAP_PRIVATE | memory.MAP_ANONYMOUS)
