"""``FrameBatch`` and ``SeriesBatch``: what pandas has, merged by rows. Rows are numbered anew, before and after."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence
from typing import Any

from .kind import BatchKind, only_rows


class _RowsBatch(BatchKind):
    class_name: str

    def holds(self, value: Any) -> bool:
        """Tell whether a value is of the class of pandas."""
        pandas = sys.modules.get("pandas")
        return pandas is not None and isinstance(value, getattr(pandas, self.class_name, ()))

    def size(self, value: Any, dim: int) -> int:
        """Return the number of rows."""
        only_rows(dim, self.name)
        return len(value)

    def concatenate(self, values: Sequence[Any], dim: int) -> Any:  # noqa: ARG002 (it is 0)
        """Merge; the index is lost."""
        import pandas

        return pandas.concat(list(values), ignore_index=True)

    def cut(self, batch: Any, bounds: Sequence[tuple[int, int]], dim: int) -> list[Any]:
        """Return the rows, numbered from 0 in each part."""
        only_rows(dim, self.name)
        return [batch.iloc[start:end].reset_index(drop=True) for start, end in bounds]


class FrameBatch(_RowsBatch):
    """Frames with the same columns of the same types in the same order."""

    name = "a data frame"
    class_name = "DataFrame"

    def key(self, value: Any, dim: int) -> Hashable:
        """Return the columns with their types."""
        only_rows(dim, self.name)
        return (type(value), tuple(value.columns), tuple(value.dtypes))


class SeriesBatch(_RowsBatch):
    """Series of one type and name."""

    name = "a series"
    class_name = "Series"

    def key(self, value: Any, dim: int) -> Hashable:
        """Return the name and the type."""
        only_rows(dim, self.name)
        return (type(value), value.name, value.dtype)
