"""Python values between workers: one array as its elements, anything else as a pickle and its buffers.

Pickles are read from workers of the same server only: the front takes none from clients.
"""

from __future__ import annotations

import math
import pickle
import sys
from collections.abc import Sequence
from typing import Any

from .frames import Body

# What `np.frombuffer` reads back; other types (objects, structures, times) are pickled.
PLAIN_KINDS = "fiub"


def encode_value(value: Any) -> tuple[dict[str, Any], list[Body]]:
    """Return how a value is written, and its parts."""
    if is_plain_array(value):
        return array_encoding(value), [array_bytes(value)]
    buffers: list[pickle.PickleBuffer] = []
    first = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts: list[Body] = [first, *(_raw(buffer) for buffer in buffers)]
    return {"kind": "pickle", "lengths": [len(part) for part in parts]}, parts


def decode_value(encoding: dict[str, Any], body: Body) -> Any:
    """Return the value; arrays in it share the memory of the body where that can be, and can be written to."""
    if encoding["kind"] == "array":
        return decode_array(encoding, body)
    memory = _writable(body)
    parts = []
    start = 0
    for length in encoding["lengths"]:
        parts.append(memory[start : start + length])
        start += length
    return pickle.loads(parts[0], buffers=parts[1:])


def is_plain_array(value: Any) -> bool:
    """Tell whether a value is an array of numbers that its elements alone give back."""
    numpy = sys.modules.get("numpy")
    return (
        numpy is not None
        and type(value) is numpy.ndarray
        and value.ndim > 0
        and value.dtype.kind in PLAIN_KINDS
        and value.dtype.isnative
    )


def array_encoding(array: Any) -> dict[str, Any]:
    """Return the head of an array."""
    return {"kind": "array", "dtype": array.dtype.str, "shape": list(array.shape)}


def array_bytes(array: Any) -> Body:
    """Return the elements of an array in C order, without a copy where they lie so."""
    import numpy

    if not array.size:  # an empty view cannot be cast
        return b""
    return memoryview(numpy.ascontiguousarray(array)).cast("B")


def decode_array(head: dict[str, Any], body: Body) -> Any:
    """Return an array over the memory of the body, which user code may write to: nobody else has it."""
    import numpy

    dtype, shape = numpy.dtype(head["dtype"]), head["shape"]
    if len(body) != dtype.itemsize * math.prod(shape):
        raise ValueError(f"{len(body)} bytes are not an array of shape {tuple(shape)} and type {dtype}")
    return numpy.frombuffer(_writable(body), dtype=dtype).reshape(shape)


def _writable(body: Body) -> memoryview:
    """Return the memory of a body, of a small one that came as `bytes` a copy."""
    memory = memoryview(body)
    return memoryview(bytearray(memory)) if memory.readonly else memory


def _raw(buffer: pickle.PickleBuffer) -> Body:
    memory: Sequence[Any] = buffer.raw()
    return memory  # type: ignore[return-value] (a memoryview of bytes)
