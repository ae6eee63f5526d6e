"""``TensorSchema``: how pydantic reads, writes and describes an array of NumPy, PyTorch or TensorFlow.

To support another library: a class with the methods of ``NumpyArrays``, and its format in ``LIBRARIES``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


class NumpyArrays:
    """Arrays of NumPy."""

    errors: tuple[type[Exception], ...] = (TypeError, OverflowError)

    @staticmethod
    def dtype(name: str) -> Any:
        """Return the element type of a name."""
        import numpy as np

        return np.dtype(name)

    @staticmethod
    def make(value: Any, dtype: Any, shape: Shape | None) -> Any:
        """Return an array with the value's elements."""
        import numpy as np

        if isinstance(value, np.ndarray):
            return value
        array = np.array(value, dtype=dtype)
        return array if shape is None else array.reshape(shape)

    @staticmethod
    def as_list(array: Any) -> Any:
        """Return nested lists."""
        return array.tolist()


class TorchTensors:
    """Tensors of PyTorch."""

    errors: tuple[type[Exception], ...] = (TypeError, RuntimeError)

    @staticmethod
    def dtype(name: str) -> Any:
        """Return the element type of a name."""
        import torch

        dtype = getattr(torch, name, None)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"`{name}` is no dtype of torch")
        return dtype

    @staticmethod
    def make(value: Any, dtype: Any, shape: Shape | None) -> Any:
        """Return a tensor with the value's elements; one of NumPy shares its memory."""
        import torch

        if isinstance(value, torch.Tensor):
            return value
        if type(value).__module__ == "numpy":
            return torch.from_numpy(value)
        tensor = torch.tensor(value, dtype=dtype)
        return tensor if shape is None else tensor.reshape(shape)

    @staticmethod
    def as_list(tensor: Any) -> Any:
        """Return nested lists, wherever the tensor lies and whether or not it has gradients."""
        return tensor.detach().cpu().tolist()


class TensorflowTensors:
    """Tensors of TensorFlow."""

    # Its own errors have no base but this one without importing it.
    errors: tuple[type[Exception], ...] = (Exception,)

    @staticmethod
    def dtype(name: str) -> Any:
        """Return the element type of a name."""
        import tensorflow as tf

        return tf.as_dtype(name)

    @staticmethod
    def make(value: Any, dtype: Any, shape: Shape | None) -> Any:
        """Return a tensor with the value's elements."""
        import tensorflow as tf

        return value if isinstance(value, tf.Tensor) else tf.constant(value, dtype=dtype, shape=shape)

    @staticmethod
    def as_list(tensor: Any) -> Any:
        """Return nested lists."""
        return tensor.numpy().tolist()


LIBRARIES: dict[str, Any] = {
    "numpy-array": NumpyArrays,
    "tf-tensor": TensorflowTensors,
    "torch-tensor": TorchTensors,
}


@dataclass(frozen=True)
class TensorSchema:
    """An array of a library (``numpy-array``), with its element type and shape where they are declared."""

    format: str
    dtype: str | None = None
    shape: tuple[int, ...] | None = None

    @property
    def dim(self) -> int | None:
        """The number of elements."""
        return None if self.shape is None else math.prod(self.shape)

    def check_dtype(self) -> None:
        """Raise for a declared element type that the library does not have."""
        if self.dtype is not None:
            LIBRARIES[self.format].dtype(self.dtype)

    def validate(self, value: Any) -> Any:
        """Make an array of nested lists; an array passes as it is."""
        library = LIBRARIES[self.format]
        try:
            return library.make(value, None if self.dtype is None else library.dtype(self.dtype), self.shape)
        except library.errors as error:
            # Pydantic turns a ValueError into a validation error; another one would become a failure of the server.
            raise ValueError(str(error)) from error

    def encode(self, array: Any, info: Any) -> Any:
        """Give nested lists for JSON, else the array itself."""
        return LIBRARIES[self.format].as_list(array) if info.mode_is_json() else array

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            self.validate,
            core_schema.any_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(self.encode, info_arg=True),
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        described = handler(schema)
        if handler.mode == "validation":
            described.update(type="tensor", format=self.format)
            facts = {"dtype": self.dtype, "shape": self.shape, "dim": self.dim}
            described.update({key: fact for key, fact in facts.items() if fact is not None})
            return described
        nested: dict[str, Any] = {"type": "number"}
        for _ in range(1 if self.shape is None else len(self.shape)):
            nested = {"type": "array", "items": nested}
        described.update(nested)
        return described
