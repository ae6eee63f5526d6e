"""Requests and responses."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Union

from ...http_values import Headers
from .errors import ProtocolError

Pair = tuple[str, str]
Part = Union[bytes, Path, BinaryIO]
READ_SIZE = 256 * 1024
TOO_MANY = 20
# What a redirect makes of a request: these stay as they are, others become GET.
KEPT = (307, 308)
REDIRECTS = (301, 302, 303, *KEPT)


class Body:
    """A request's body in parts; files are read while they are sent, and anew when the request is sent again."""

    def __init__(self, *parts: Part):
        self._parts = [_whole(part) for part in parts]
        self._starts = [_start(part) for part in self._parts]
        self.length = sum(_length(part, start) for part, start in zip(self._parts, self._starts))

    def pieces(self) -> Iterator[bytes]:
        """Yield the body; it is an error when a file has another size than at the beginning."""
        sent = 0
        for part, start in zip(self._parts, self._starts):
            for piece in _read(part, start):
                sent += len(piece)
                yield piece
        if sent != self.length:
            raise OSError(f"a file changed while it was sent: {sent} bytes instead of {self.length}")


@dataclass
class Request:
    """One request; ``target`` is the path and query."""

    method: str
    target: str
    headers: list[Pair] = field(default_factory=list)
    body: Body = field(default_factory=Body)

    def redirected(self, status: int, target: str, *, is_other_origin: bool) -> Request:
        """Return the request that follows a redirect; another server does not learn who asks."""
        secret = ("authorization", "cookie") if is_other_origin else ()
        headers = [pair for pair in self.headers if pair[0].lower() not in secret]
        if status in KEPT or self.method in ("GET", "HEAD"):
            return Request(self.method, target, headers, self.body)
        return Request("GET", target, [pair for pair in headers if not pair[0].lower().startswith("content-")])

    def head(self, host: str, defaults: list[Pair], target: str | None = None) -> bytes:
        """Return the request line and the headers; those of the request win over ``defaults``."""
        own = {name.lower() for name, _ in self.headers}
        headers = [("host", host), *(pair for pair in defaults if pair[0].lower() not in own), *self.headers]
        if self.body.length or self.method not in ("GET", "HEAD"):
            headers.append(("content-length", str(self.body.length)))
        lines = [f"{self.method} {target or self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        if any(character in line for line in lines for character in "\r\n\0"):
            raise ValueError("a header or path has a line break in it")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Response:
    """An answer that was read whole; the names are those of httpx, which upstream's clients return."""

    def __init__(self, status: int, reason: str, headers: list[Pair], content: bytes, url: str):
        self.status_code = status
        self.reason_phrase = reason
        self.headers = Headers(headers)
        self.content = content
        self.url = url

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", "replace")

    @property
    def is_success(self) -> bool:
        """Whether the request was done."""
        return 200 <= self.status_code < 300

    @property
    def is_error(self) -> bool:
        """Whether the client or the server is at fault."""
        return self.status_code >= 400

    def json(self) -> Any:
        """Return the body parsed as JSON."""
        import json

        return json.loads(self.content)

    def read(self) -> bytes:
        """Return the body."""
        return self.content

    def raise_for_status(self) -> Response:
        """Raise the exception that an error status stands for."""
        if self.is_error:
            raise error_of(self.status_code, self.text)
        return self

    def __repr__(self) -> str:
        return f"<Response [{self.status_code} {self.reason_phrase}]>"


def error_of(status: int, text: str) -> Exception:
    """Return what clients raise for an error status: the class declared for it, with the body as message."""
    from http import HTTPStatus

    from ...exceptions import BentoMLException

    try:
        code = HTTPStatus(status)
    except ValueError:
        return BentoMLException(f"{status}: {text}")
    declared = BentoMLException.error_mapping.get(code, BentoMLException)
    try:
        return declared(text, error_code=code)
    except TypeError:  # a class of the user with a constructor of its own
        return BentoMLException(text, error_code=code)


def check_redirects(count: int, origin: object) -> None:
    """Raise when redirects lead nowhere."""
    if count > TOO_MANY:
        raise ProtocolError(f"`{origin}` redirected more than {TOO_MANY} times")


def _whole(part: Part) -> Part:
    """Return a part that can be measured and read twice: what cannot be rewound is read now."""
    if isinstance(part, (bytes, Path)) or part.seekable():
        return part
    return part.read()


def _start(part: Part) -> int:
    return 0 if isinstance(part, (bytes, Path)) else part.tell()


def _length(part: Part, start: int) -> int:
    if isinstance(part, bytes):
        return len(part)
    if isinstance(part, Path):
        return os.stat(part).st_size
    end = part.seek(0, io.SEEK_END)
    part.seek(start)
    return end - start


def _read(part: Part, start: int) -> Iterator[bytes]:
    if isinstance(part, bytes):
        if part:
            yield part
        return
    if isinstance(part, Path):
        with open(part, "rb") as file:
            yield from iter(lambda: file.read(READ_SIZE), b"")
        return
    part.seek(start)
    yield from iter(lambda: part.read(READ_SIZE), b"")
