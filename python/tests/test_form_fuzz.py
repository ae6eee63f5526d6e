"""Forms that nobody meant: whatever a client sends is read, or refused as its mistake, and soon.

A generator with a seed makes bodies and mutates them; a find is added to ``FOUND`` as it was.
"""

from __future__ import annotations

import contextlib
import random
import time
from typing import Any

import pytest

from ekiben.descriptors.base import Content
from ekiben.descriptors.file import File
from ekiben.descriptors.multipart import Multipart
from ekiben.exceptions import BadInput
from ekiben.http_values import Headers
from ekiben.io import forms
from ekiben.io.forms import FormField, form_parts, header_parameters, parse_form

FIELDS = {
    "text": FormField(is_text=True, is_list=False),
    "n": FormField(is_text=False, is_list=False),
    "many": FormField(is_text=False, is_list=True),
    "file": FormField(is_text=False, is_list=False, is_file=True),
    "files": FormField(is_text=False, is_list=True, is_file=True),
}
# What mutations insert: the words of the format, and what readers stumble over.
WORDS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"--",
    b"--cut",
    b"\r\n--cut",
    b"\r\n--cut--",
    b"\r\n\r\n",
    b"Content-Disposition: form-data; ",
    b'name="n"',
    b"name=",
    b"filename*=utf-8''%ff",
    b"filename*=idna''%ff",
    b"filename*=undefined''x",
    b"filename*=hex''00",
    b"filename*=utf-8\0''x",
    b'"',
    b"\\",
    b";",
    b"=",
    b":",
    b"\x00",
    b"\xff",
    b"[" * 3000,
    b"1e999",
    b"NaN",
    b"9" * 5000,
    b"http://127.0.0.1/",
]
FOUND = [
    # Deeper than the reader of JSON goes.
    b'--cut\r\nContent-Disposition: form-data; name="n"\r\n\r\n' + b"[" * 100_000 + b"\r\n--cut--",
    # Character sets that are none, or that cannot replace what they cannot read.
    b"--cut\r\nContent-Disposition: form-data; name=file; filename*=idna''%ff%fe\r\n\r\nx\r\n--cut--",
    b"--cut\r\nContent-Disposition: form-data; name=file; filename*=undefined''x\r\n\r\nx\r\n--cut--",
    b"--cut\r\nContent-Disposition: form-data; name=file; filename*=utf-8\0''x\r\n\r\nx\r\n--cut--",
    # A part without a head, and one that is nothing else.
    b"--cut\r\n\r\n--cut--",
    b'--cut\r\nContent-Disposition: form-data; name="n"\r\n--cut--',
    b'--cut\r\nContent-Disposition: form-data; name="n"; filename="\\\r\n\r\n\r\n--cut--',
]
TYPES = [
    "multipart/form-data; boundary=cut",
    'multipart/form-data; boundary="cut"',
    "multipart/form-data; boundary=",
    "multipart/form-data",
    "multipart/form-data; boundary=ü",
    "application/x-www-form-urlencoded",
]


@pytest.fixture(autouse=True)
def _nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str) -> None:
        raise BadInput(f"not here: {url}")

    monkeypatch.setattr(forms, "download", refuse)


def form(values: list[tuple[str, bytes, str | None]], boundary: bytes = b"cut") -> bytes:
    """Write a form as browsers do."""
    body = b""
    for name, content, filename in values:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        disposition = f'form-data; name="{quoted}"'
        if filename is not None:
            disposition += f'; filename="{filename}"'
        body += b"--" + boundary + f"\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"
    return body + b"--" + boundary + b"--\r\n"


def seeds() -> list[bytes]:
    """Return what mutations start from."""
    return [
        form([("text", b"1", None), ("n", b"[1, 2]", None)]),
        form([("many", b"1", None), ("many", b"x", None), ("other", b"{}", None)]),
        form([("file", b"\x00\xff" * 50, "a.bin"), ("files", b"x", "b"), ("files", b"", "c;d.txt")]),
        b"text=1&n=%5B1%5D&many=1&many=2",
        *(found for found in FOUND if len(found) < 1000),
    ]


def mutated(body: bytes, chance: random.Random) -> bytes:
    """Return the body with a few things changed."""
    data = bytearray(body)
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(data))
        kind = chance.randrange(5)
        if kind == 0:
            data[at:at] = chance.choice(WORDS)
        elif kind == 1:
            del data[at : at + chance.randint(1, 20)]
        elif kind == 2 and at < len(data):
            data[at] = chance.randrange(256)
        elif kind == 3:
            end = min(len(data), at + chance.randint(1, 60))
            data[at:at] = data[at:end]
        else:
            del data[at:]
            data += chance.choice(seeds())[chance.randint(0, 40) :]
    return bytes(data)


def read_new(body: bytes, content_type: str) -> None:
    """Read a form as services of classes do: a value for every name, or the client's mistake."""
    try:
        values = parse_form(body, content_type, FIELDS)
    except BadInput:
        return
    assert all(isinstance(name, str) for name in values)


def read_old(body: bytes, content_type: str) -> None:
    """Read it as old-style services do."""
    if not content_type.startswith(forms.FORM_DATA):
        return  # refused with 500, as upstream has it
    descriptor: Any = Multipart(text=File(), n=File())
    with contextlib.suppress(BadInput):
        descriptor.decode(Content(body, Headers([("content-type", content_type)])))


@pytest.mark.parametrize("read", [read_new, read_old])
def test_what_was_found_stays_mended(read: Any) -> None:
    for body in FOUND:
        for content_type in TYPES[:5]:
            read(body, content_type)


@pytest.mark.parametrize("read", [read_new, read_old])
def test_any_body_is_read_or_refused(read: Any) -> None:
    chance = random.Random(20261122)
    starts = seeds()
    for round_number in range(4000):
        body = mutated(chance.choice(starts), chance)
        content_type = TYPES[0] if round_number % 4 else chance.choice(TYPES)
        try:
            read(body, content_type)
        except Exception as error:
            pytest.fail(f"{type(error).__name__} for {content_type!r}: {body!r}")


def test_what_is_written_is_read() -> None:
    chance = random.Random(7)
    for _ in range(500):
        values = []
        for _ in range(chance.randint(1, 6)):
            name = "".join(chance.choice('abü";=\\ ') for _ in range(chance.randint(1, 8))).strip() or "n"
            content = bytes(chance.choice(b"\r\n-cut\x00\xff:x") for _ in range(chance.randint(0, 60)))
            values.append((name, content.replace(b"\r\n--cut", b""), chance.choice([None, "a.txt", ""])))
        parts = list(form_parts(form(values), TYPES[0]))
        assert [(part.name, bytes(part.content), part.filename) for part in parts] == values


@pytest.mark.parametrize(
    "body",
    [
        b"--cut\r\nContent-Disposition: form-data; " + b"a=;" * 400_000 + b"\r\n\r\nx\r\n--cut--",
        b"--cut\r\n" + b"a:b\r\n" * 300_000 + b"\r\nx\r\n--cut--",
        b"--cut" + b"\r\n--cu" * 300_000,
        b'--cut\r\nContent-Disposition: form-data; name="n"\r\n\r\n' + b"\r" * 2_000_000 + b"\r\n--cut--",
        b"--cut\r\n\r\n" * 200_000,
    ],
    ids=["parameters", "headers", "boundaries", "returns", "empty parts"],
)
def test_large_ones_take_no_longer_than_their_bytes(body: bytes) -> None:
    begun = time.monotonic()
    read_new(body, TYPES[0])
    assert time.monotonic() - begun < 5, "the time grows faster than the body"


def test_long_parameters_take_no_longer_than_their_bytes() -> None:
    begun = time.monotonic()
    assert header_parameters("form-data; " + "a=1;" * 200_000 + 'name="x;y"') == {"a": "1", "name": "x;y"}
    assert time.monotonic() - begun < 5
    assert header_parameters('x; flag; name="a\\"b"; filename=c') == {"name": 'a"b', "filename": "c"}
