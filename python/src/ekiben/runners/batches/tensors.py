"""Tensors of PyTorch, TensorFlow and JAX, merged along any dimension by the functions of their own library."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence
from typing import Any

from .kind import BatchKind, length_along, other_lengths


class _TensorBatch(BatchKind):
    """Tensors of one type, on one device, and but for the merged dimension of one shape."""

    name = "a tensor"
    # Where the class is, which is there when a value of it is.
    module: str
    class_name: str

    def holds(self, value: Any) -> bool:
        """Tell whether a value is a tensor of the library."""
        library = sys.modules.get(self.module)
        return library is not None and isinstance(value, getattr(library, self.class_name, ()))

    def size(self, value: Any, dim: int) -> int:
        """Return the length of the dimension."""
        return length_along(tuple(value.shape), dim, self.name)

    def key(self, value: Any, dim: int) -> Hashable:
        """Return the type, the device and the other lengths."""
        self.size(value, dim)
        shape = tuple(value.shape)
        return (self.module, str(value.dtype), self.device(value), len(shape), other_lengths(shape, dim))

    def device(self, value: Any) -> str:
        """Return where a tensor is."""
        return str(value.device)

    def cut(self, batch: Any, bounds: Sequence[tuple[int, int]], dim: int) -> list[Any]:
        """Return the slices."""
        before = (slice(None),) * (dim % len(batch.shape))
        return [batch[(*before, slice(start, end))] for start, end in bounds]


class TorchBatch(_TensorBatch):
    """Tensors of PyTorch. Parts are views of the batch."""

    module = "torch"
    class_name = "Tensor"

    def concatenate(self, values: Sequence[Any], dim: int) -> Any:
        """Merge into a new tensor."""
        return sys.modules[self.module].cat(tuple(values), dim=dim)


class TensorFlowBatch(_TensorBatch):
    """Tensors of TensorFlow."""

    module = "tensorflow"
    class_name = "Tensor"

    def concatenate(self, values: Sequence[Any], dim: int) -> Any:
        """Merge into a new tensor."""
        return sys.modules[self.module].concat(list(values), axis=dim)


class JaxBatch(_TensorBatch):
    """Arrays of JAX."""

    name = "an array of JAX"
    module = "jax"
    class_name = "Array"

    def device(self, value: Any) -> str:
        """Return where an array is: of sharded ones all devices."""
        return str(sorted(map(str, value.devices())))

    def concatenate(self, values: Sequence[Any], dim: int) -> Any:
        """Merge into a new array."""
        return sys.modules[self.module].numpy.concatenate(list(values), axis=dim)
