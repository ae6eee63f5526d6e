"""``ListBatch``: lists of anything, merged item by item."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import chain
from typing import Any

from .kind import BatchKind, only_rows


class ListBatch(BatchKind):
    """Lists, and nothing else that could be iterated over: no text is taken apart."""

    name = "a list"

    def holds(self, value: Any) -> bool:
        """Tell whether a value is a list."""
        return isinstance(value, list)

    def size(self, value: Any, dim: int) -> int:  # noqa: ARG002 (lists have one)
        """Return the number of items."""
        return len(value)

    def key(self, value: Any, dim: int) -> Hashable:  # noqa: ARG002 (one list is like another)
        """Return the same for all lists."""
        only_rows(dim, self.name)
        return list

    def concatenate(self, values: Sequence[Any], dim: int) -> Any:  # noqa: ARG002 (it is 0)
        """Merge into a new list."""
        return list(chain.from_iterable(values))

    def cut(self, batch: Any, bounds: Sequence[tuple[int, int]], dim: int) -> list[Any]:
        """Return the slices."""
        only_rows(dim, self.name)
        return [batch[start:end] for start, end in bounds]
