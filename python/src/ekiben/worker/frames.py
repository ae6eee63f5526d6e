"""Frames of the worker protocol: a length prefix, a JSON header, a body."""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from typing import Any, Callable, Union

from pydantic_core import from_json

Body = Union[bytes, bytearray, memoryview]

PROTOCOL = 2
# `u32` header length, `u64` body length, little-endian.
PREFIX = struct.Struct("<IQ")
MAX_HEADER = 1 << 20
MAX_BODY = 4 << 30
# Of the body's length: the body is not in the frame, but in the next descriptor of the second socket.
SHARED = 1 << 63
# One read of the socket; frames of small calls arrive several at a time.
READ_SIZE = 256 * 1024
# Joining a small body to its header costs less than a second buffer in the system call.
JOIN_BELOW = 64 * 1024

TO_WORKER = frozenset(
    {
        "call",
        "batch",
        "cancel",
        "probe",
        "metrics",
        "drain",
        "outcome",
        "item",
        "done",
        "place",
        "connect",
        "receive",
        "sent",
        "disconnect",
    }
)
FROM_WORKER = frozenset(
    {
        "describe",
        "ready",
        "failed",
        "reply",
        "results",
        "stream",
        "chunk",
        "end",
        "probed",
        "measured",
        "log",
        "invoke",
        "withdraw",
        "accept",
        "deny",
        "send",
        "received",
        "close",
        "command",
    }
)


class ProtocolError(Exception):
    """The other side sent what the protocol does not allow; the socket is closed."""


class Frame:
    """One message."""

    __slots__ = ("body", "header", "type")

    def __init__(self, header: dict[str, Any], body: Body = b""):
        self.header = header
        self.body = body
        self.type: str = header["type"]

    def __repr__(self) -> str:
        return f"Frame({self.header!r}, {bytes(self.body)!r})"


# `json.dumps` would build its encoder anew for every frame.
_encode_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def encode_frame(header: dict[str, Any], body: Body = b"") -> list[Body]:
    """Return the buffers to write; a large body is not copied."""
    return _frame(_encode_json(header).encode("utf-8", "replace"), body)


def encode_reply(call_id: int, status: int, headers: tuple[tuple[str, str], ...], body: Body) -> list[Body]:
    """Return the buffers of a ``reply``, the message of which there are most; few of them differ but in the number."""
    return _frame(b'{"type":"reply","id":%d%b' % (call_id, _reply_rest(status, headers)), body)


@lru_cache(maxsize=256)
def _reply_rest(status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
    text = _encode_json({"status": status, "headers": headers})
    return b"," + text[1:].encode("utf-8", "replace")


def _frame(text: bytes, body: Body) -> list[Body]:
    if len(text) > MAX_HEADER:
        raise ProtocolError(f"header of {len(text)} bytes is over the limit of {MAX_HEADER}")
    if len(body) > MAX_BODY:
        raise ProtocolError(f"body of {len(body)} bytes is over the limit of {MAX_BODY}")
    head = PREFIX.pack(len(text), len(body)) + text
    if len(body) < JOIN_BELOW:
        return [head + body] if body else [head]
    return [head, body]


def encode_frame_of_parts(header: dict[str, Any], parts: list[Body]) -> list[Body]:
    """Return the buffers to write for a body in several parts; small ones are joined, large ones not copied."""
    length = sum(len(part) for part in parts)
    if len(parts) <= 1:
        return encode_frame(header, *parts)
    if length < JOIN_BELOW:
        return encode_frame(header, b"".join(parts))
    text = _encode_json(header).encode("utf-8", "replace")
    if len(text) > MAX_HEADER:
        raise ProtocolError(f"header of {len(text)} bytes is over the limit of {MAX_HEADER}")
    if length > MAX_BODY:
        raise ProtocolError(f"body of {length} bytes is over the limit of {MAX_BODY}")
    return [PREFIX.pack(len(text), length) + text, *(part for part in parts if len(part))]


def encode_shared_frame(header: dict[str, Any], length: int) -> list[Body]:
    """Return the buffers to write for a frame whose body is shared."""
    text = _encode_json(header).encode("utf-8", "replace")
    if len(text) > MAX_HEADER:
        raise ProtocolError(f"header of {len(text)} bytes is over the limit of {MAX_HEADER}")
    return [PREFIX.pack(len(text), SHARED | length) + text]


class FrameReader:
    """Cuts what arrives into frames. Large bodies are read straight into their own buffer.

    ``buffer`` is where the next bytes go, ``filled`` tells how many came. ``take_shared`` gives the bodies that are not
    in their frames; without it there are none.
    """

    def __init__(
        self,
        on_frame: Callable[[Frame], None],
        types: frozenset[str] = TO_WORKER,
        take_shared: Callable[[int], Body] | None = None,
    ):
        self._on_frame = on_frame
        self._types = types
        self._take_shared = take_shared
        self._space = bytearray(READ_SIZE)
        self._start = self._end = 0
        self._header: dict[str, Any] | None = None
        self._body: bytearray | None = None
        self._body_filled = 0

    def buffer(self) -> memoryview:
        """Return the memory that the next bytes are to be read into."""
        if self._body is not None:
            return memoryview(self._body)[self._body_filled :]
        return memoryview(self._space)[self._end :]

    def filled(self, count: int) -> None:
        """Take note of ``count`` new bytes, and pass on the frames that they complete."""
        if self._body is not None:
            self._body_filled += count
            if self._body_filled < len(self._body):
                return
            body, self._body = self._body, None
            self._deliver(body)
        else:
            self._end += count
        while self._parse():
            pass
        self._make_room()

    def _parse(self) -> bool:
        """Take one frame out of the space; False when more bytes are needed."""
        available = self._end - self._start
        if available < PREFIX.size:
            return False
        header_length, body_length = PREFIX.unpack_from(self._space, self._start)
        if not 1 <= header_length <= MAX_HEADER:
            raise ProtocolError(f"header length {header_length} is not between 1 and {MAX_HEADER}")
        if body_length > MAX_BODY:
            return self._parse_shared(header_length, body_length)
        body_start = self._start + PREFIX.size + header_length
        if body_start > self._end:
            self._reserve(PREFIX.size + header_length)
            return False
        if self._header is None:
            self._header = self._parse_header(body_start - header_length, body_start)
        body_end = body_start + body_length
        if body_end <= self._end:
            self._start = body_end
            self._deliver(bytes(memoryview(self._space)[body_start:body_end]) if body_length else b"")
            return True
        # The body goes on after what has been read: give it its own buffer, of which the first part is here.
        self._body = bytearray(body_length)
        self._body_filled = self._end - body_start
        self._body[: self._body_filled] = memoryview(self._space)[body_start : self._end]
        self._start = self._end = 0
        return False

    def _parse_shared(self, header_length: int, body_length: int) -> bool:
        """Take a frame whose body is elsewhere."""
        length = body_length & ~SHARED
        if length == body_length or self._take_shared is None or not 1 <= length <= MAX_BODY:
            raise ProtocolError(f"body length {body_length} is over the limit of {MAX_BODY}")
        start = self._start + PREFIX.size
        if start + header_length > self._end:
            self._reserve(PREFIX.size + header_length)
            return False
        self._header = self._parse_header(start, start + header_length)
        self._start = start + header_length
        self._deliver(self._take_shared(length))
        return True

    def _parse_header(self, start: int, end: int) -> dict[str, Any]:
        try:
            header = from_json(self._space[start:end])
        except ValueError as error:
            raise ProtocolError(f"header is not JSON: {error}") from error
        if not isinstance(header, dict):
            raise ProtocolError("header is not a JSON object")
        if header.get("type") not in self._types:
            raise ProtocolError(f"unknown frame type {header.get('type')!r}")
        return header

    def _deliver(self, body: Body) -> None:
        header, self._header = self._header, None
        self._on_frame(Frame(header or {}, body))

    def _make_room(self) -> None:
        """Move what is left to the beginning of the space when the space is used up."""
        if self._start == self._end:
            self._start = self._end = 0
        elif len(self._space) - self._end < READ_SIZE // 4:
            self._reserve(0)

    def _reserve(self, size: int) -> None:
        left = self._space[self._start : self._end]
        if size + READ_SIZE // 4 > len(self._space):
            self._space = bytearray(size + READ_SIZE)
        self._space[: len(left)] = left
        self._start, self._end = 0, len(left)
