"""``Header``: what stands before the tensors of a file, checked as the format requires.

A file is the length of the header (8 bytes, little-endian), the header (JSON, an object of tensors by name), and the
bytes of the tensors. Nothing in it can be trusted: what passes here lies one after the other, without overlap or hole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from .errors import SafetensorsError

# Of the length before the header.
PREFIX = 8
# The format's own limit.
MAX_HEADER = 100_000_000
METADATA = "__metadata__"

# Bits of an element.
DTYPES = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}


@dataclass(frozen=True)
class Entry:
    """A tensor of a file: its bytes are ``begin`` to ``end`` of what follows the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """The tensors of a file in the order of their bytes, and the text that the file carries besides."""

    entries: tuple[Entry, ...]
    metadata: dict[str, str]

    @property
    def data_size(self) -> int:
        """The length of what follows the header."""
        return self.entries[-1].end if self.entries else 0


def header_length(path: str, prefix: bytes) -> int:
    """Return the length of the header, from the bytes before it."""
    if len(prefix) < PREFIX:
        raise SafetensorsError(path, f"it has {len(prefix)} bytes, too few for a safetensors file")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER:
        raise SafetensorsError(
            path, f"its header would have {length} bytes, more than the {MAX_HEADER} that the format allows"
        )
    return length


def parse_header(path: str, raw: bytes) -> Header:
    """Read and check a header; the file's length is for the caller to check."""
    document = _parse_json(path, raw)
    metadata = _metadata(path, document.pop(METADATA, {}))
    entries = [_entry(path, name, described) for name, described in document.items()]
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    end = 0
    for entry in entries:
        if entry.begin != end:
            kind = "a hole" if entry.begin > end else "an overlap"
            raise SafetensorsError(path, f"there is {kind} before tensor `{entry.name}`, at byte {end} of the data")
        end = entry.end
    return Header(tuple(entries), metadata)


def _parse_json(path: str, raw: bytes) -> dict[str, Any]:
    if raw[:1] != b"{":
        raise SafetensorsError(path, "its header does not begin with `{`: it is not a safetensors file")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SafetensorsError(path, f"its header is not UTF-8, at byte {error.start}") from error
    try:
        return json.loads(text, object_pairs_hook=_without_repetition, parse_constant=_no_constant)
    except RecursionError as error:
        raise SafetensorsError(path, "its header is nested too deeply") from error
    except ValueError as error:
        raise SafetensorsError(path, f"its header is not valid JSON: {error}") from error


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key `{key}` is there twice")
        # Escapes can make half of a character, which is no text.
        key.encode("utf-8")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"`{name}` is no JSON")


def _metadata(path: str, found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise SafetensorsError(path, f"`{METADATA}` in its header is not a map of text to text")
    return found


def _entry(path: str, name: str, described: Any) -> Entry:
    if not isinstance(described, dict):
        raise SafetensorsError(path, f"tensor `{name}` is not described by an object")
    dtype, shape, offsets = (described.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise SafetensorsError(path, f"tensor `{name}` is of the unknown type `{dtype}`")
    if not _are_sizes(shape):
        raise SafetensorsError(path, f"the shape of tensor `{name}` is not a list of sizes")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise SafetensorsError(path, f"the offsets of tensor `{name}` are not the begin and end of its bytes")
    bits = DTYPES[dtype]
    for size in shape:
        bits *= size
        if bits >= 1 << 64:
            raise SafetensorsError(path, f"tensor `{name}` has more elements than any memory")
    begin, end = offsets
    if bits % 8 or bits // 8 != end - begin:
        raise SafetensorsError(
            path,
            f"tensor `{name}` has {end - begin} bytes; its type {dtype} and shape {list(shape)} make {bits / 8:g}",
        )
    return Entry(name, dtype, tuple(shape), begin, end)


def _are_sizes(found: Any) -> bool:
    # `True` is an `int` to Python.
    return isinstance(found, list) and all(type(size) is int and 0 <= size < 1 << 64 for size in found)
