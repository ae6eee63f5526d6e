"""Tensors as objects of a framework, which share the memory of the file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ..exceptions import BentoMLException, MissingDependencyException
from .checkpoint import Placed
from .errors import SafetensorsError
from .header import DTYPES

# NumPy's own types.
NUMPY = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "I16": "<i2",
    "U16": "<u2",
    "F16": "<f2",
    "I32": "<i4",
    "U32": "<u4",
    "F32": "<f4",
    "C64": "<c8",
    "F64": "<f8",
    "I64": "<i8",
    "U64": "<u8",
}
# Types that the package `ml_dtypes` adds to NumPy.
ML_DTYPES = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
TORCH = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "C64": "complex64",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
    **{name: ML_DTYPES[name] for name in ML_DTYPES if name.startswith("F8_")},
}
# Bits of an element: what holds them as they are. Older releases of torch have no larger unsigned integers.
NUMPY_RAW = {8: "u1", 16: "<u2", 32: "<u4", 64: "<u8"}
TORCH_RAW = {8: "uint8", 16: "int16", 32: "int32", 64: "int64"}


def numpy_arrays(tensors: Mapping[str, Placed], *, raw: bool, device: Any) -> dict[str, Any]:  # noqa: ARG001
    """Return arrays; one that does not lie at a multiple of its type's size is a copy that does."""
    import numpy

    types = {dtype: _numpy_type(tensors, dtype, raw) for dtype in _types_of(tensors)}
    arrays = {}
    for name, placed in tensors.items():
        dtype, entry = types[placed.entry.dtype], placed.entry
        shape = entry.shape if dtype is not None else (entry.end - entry.begin,)
        dtype = numpy.dtype(dtype or "u1")
        start = placed.contents.start + entry.begin
        array: Any = numpy.ndarray(shape, dtype, placed.contents.buffer, start)
        arrays[name] = array if start % dtype.alignment == 0 else array.copy()
    return arrays


def torch_tensors(tensors: Mapping[str, Placed], *, raw: bool, device: Any) -> dict[str, Any]:
    """Return tensors; one that does not lie at a multiple of its type's size is a copy that does."""
    torch = _require("torch", "torch", "to load tensors of torch")
    if sys.byteorder != "little":
        raise BentoMLException("torch cannot use safetensors files in place on this big-endian machine")
    types = {dtype: _torch_type(torch, tensors, dtype, raw) for dtype in _types_of(tensors)}
    loaded = {}
    for name, placed in tensors.items():
        dtype, entry = types[placed.entry.dtype], placed.entry
        shape = entry.shape if dtype is not None else (entry.end - entry.begin,)
        tensor = _torch_view(torch, placed, dtype or torch.uint8).reshape(shape)
        loaded[name] = tensor if device is None else tensor.to(device)
    return loaded


def _torch_view(torch: Any, placed: Placed, dtype: Any) -> Any:
    entry, contents = placed.entry, placed.contents
    size = entry.end - entry.begin
    if size == 0:
        return torch.empty(0, dtype=dtype)
    start = contents.start + entry.begin
    width = max(DTYPES[entry.dtype] // 8, 1)
    if start % width == 0:
        return torch.frombuffer(contents.buffer, dtype=dtype, count=size // width, offset=start)
    return torch.frombuffer(bytearray(contents.buffer[start : start + size]), dtype=dtype)


def _types_of(tensors: Mapping[str, Placed]) -> list[str]:
    return sorted({placed.entry.dtype for placed in tensors.values()})


def _numpy_type(tensors: Mapping[str, Placed], dtype: str, raw: bool) -> Any:
    """Return NumPy's type for one of the format's; None for one whose elements share bytes."""
    if dtype in NUMPY:
        return NUMPY[dtype]
    if raw:
        return NUMPY_RAW.get(DTYPES[dtype])
    if dtype not in ML_DTYPES:
        raise _without_type(tensors, dtype, "NumPy has no such type")
    example = _example(tensors, dtype)
    found = _require("ml_dtypes", "ml_dtypes", f"because tensor `{example.entry.name}` is of type {dtype}")
    if not hasattr(found, ML_DTYPES[dtype]):
        raise _without_type(tensors, dtype, "this release of `ml_dtypes` has no such type")
    return getattr(found, ML_DTYPES[dtype])


def _torch_type(torch: Any, tensors: Mapping[str, Placed], dtype: str, raw: bool) -> Any:
    found = getattr(torch, TORCH.get(dtype, ""), None)
    if found is not None:
        return found
    if raw:
        name = TORCH_RAW.get(DTYPES[dtype])
        return None if name is None else getattr(torch, name)
    raise _without_type(tensors, dtype, f"torch {torch.__version__} has no such type")


def _require(module: str, package: str, reason: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyException(
            f"'{module}' is required {reason}: {error}; install it with 'pip install {package}'"
            + ("" if module == "torch" else ", or pass `raw=True` for the bits as unsigned integers")
        ) from error


def _example(tensors: Mapping[str, Placed], dtype: str) -> Placed:
    return next(placed for placed in tensors.values() if placed.entry.dtype == dtype)


def _without_type(tensors: Mapping[str, Placed], dtype: str, why: str) -> SafetensorsError:
    example = _example(tensors, dtype)
    return SafetensorsError(
        example.contents.path,
        f"tensor `{example.entry.name}` is of type {dtype}, and {why}; pass `raw=True` for its bits",
    )


VIEWS = {"numpy": numpy_arrays, "torch": torch_tensors}
