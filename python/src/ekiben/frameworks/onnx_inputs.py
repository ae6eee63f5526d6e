"""The inputs of an ONNX graph: how values are cast to what the graph says it takes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Callable

from ..exceptions import BentoMLException
from .runnables import is_array, is_frame

# `TensorProto.DataType` of the format -> the type of NumPy.
TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "str",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
}


def caster(described: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return what casts a value to a type of the graph: a tensor, or a map or sequence of such types."""
    if len(described) != 1:
        raise BentoMLException("onnx model input type dictionary should have only one key!")
    ((kind, spec),) = described.items()
    if kind == "tensorType":
        return _tensor_caster(TYPES.get(spec["elemType"]), spec["elemType"])
    if kind == "mapType":
        of_value = caster(spec["valueType"])
        return lambda value: {key: of_value(item) for key, item in value.items()}
    if kind == "sequenceType":
        of_item = caster(spec["elemType"])
        return lambda value: [of_item(item) for item in value]
    raise BentoMLException(f"inputs of the ONNX type `{kind}` are not supported")


def _tensor_caster(dtype: str | None, number: int) -> Callable[[Any], Any]:
    import numpy

    if dtype is None:
        raise BentoMLException(f"inputs of the ONNX element type {number} are not supported")

    def cast(value: Any) -> Any:
        if is_array(value):
            return value.astype(dtype, copy=False)
        if isinstance(value, list):
            return numpy.array(value).astype(dtype, copy=False)
        if is_frame(value):
            return value.to_numpy(dtype=dtype)
        if _is_tensor(value, "tensorflow"):
            return numpy.array(memoryview(value)).astype(dtype, copy=False)
        if _is_tensor(value, "torch"):
            return value.numpy().astype(dtype, copy=False)
        raise TypeError(
            "`run` of ONNXRunnable only takes `numpy.ndarray`, `pd.DataFrame`, `tf.Tensor`, `torch.Tensor` or a list "
            "as input Tensor type"
        )

    return cast


def _is_tensor(value: Any, library: str) -> bool:
    module = sys.modules.get(library)
    return module is not None and isinstance(value, getattr(module, "Tensor", ()))
