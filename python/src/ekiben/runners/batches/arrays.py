"""``ArrayBatch``: arrays of NumPy, merged along any dimension."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence
from typing import Any

from .kind import BatchKind, length_along, other_lengths


class ArrayBatch(BatchKind):
    """Arrays of one type and, but for the merged dimension, one shape. Parts are views of the batch."""

    name = "an array"

    def holds(self, value: Any) -> bool:
        """Tell whether a value is an array."""
        numpy = sys.modules.get("numpy")
        return numpy is not None and isinstance(value, numpy.ndarray)

    def size(self, value: Any, dim: int) -> int:
        """Return the length of the dimension."""
        return length_along(value.shape, dim, self.name)

    def key(self, value: Any, dim: int) -> Hashable:
        """Return the type and the other lengths; of texts only that they are texts, as a longer one changes nothing."""
        import numpy

        self.size(value, dim)
        if type(value) is not numpy.ndarray:  # merging would lose the mask of a masked array
            return None
        dtype = value.dtype.kind if value.dtype.kind in "US" else value.dtype
        return (dtype, value.ndim, other_lengths(value.shape, dim))

    def concatenate(self, values: Sequence[Any], dim: int) -> Any:
        """Merge into a new array in C order."""
        import numpy

        return numpy.ascontiguousarray(numpy.concatenate(values, axis=dim))

    def cut(self, batch: Any, bounds: Sequence[tuple[int, int]], dim: int) -> list[Any]:
        """Return views."""
        before = (slice(None),) * (dim % batch.ndim)
        return [batch[(*before, slice(start, end))] for start, end in bounds]
