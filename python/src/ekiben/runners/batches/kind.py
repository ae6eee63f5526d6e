"""``BatchKind``: what must be known of a type of values to merge and split them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from itertools import accumulate
from typing import Any

from ...exceptions import InvalidArgument


class BatchKind(ABC):
    """A type of values that can be merged along a dimension."""

    # How messages name a value.
    name: str

    @abstractmethod
    def holds(self, value: Any) -> bool:
        """Tell whether a value is of this kind, without importing what would make it one."""

    @abstractmethod
    def size(self, value: Any, dim: int) -> int:
        """Return how many items a value has along a dimension."""

    @abstractmethod
    def key(self, value: Any, dim: int) -> Hashable:
        """Return what values that are merged have in common; None for a value that cannot be merged after all."""

    @abstractmethod
    def concatenate(self, values: Sequence[Any], dim: int) -> Any:
        """Merge values with equal keys; there is at least one."""

    @abstractmethod
    def cut(self, batch: Any, bounds: Sequence[tuple[int, int]], dim: int) -> list[Any]:
        """Return the part of each pair of bounds; together they are the whole."""


def bounds_of(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first index of each part and the one after its last."""
    ends = list(accumulate(sizes))
    return list(zip([0, *ends], ends))


def length_along(shape: Sequence[int], dim: int, name: str) -> int:
    """Return the length of a dimension; ``InvalidArgument`` when there is no such dimension."""
    if not -len(shape) <= dim < len(shape):
        dimensions = "1 dimension" if len(shape) == 1 else f"{len(shape)} dimensions"
        raise InvalidArgument(f"{name} of {dimensions} cannot be merged along dimension {dim}")
    return int(shape[dim])


def other_lengths(shape: Sequence[int], dim: int) -> tuple[int, ...]:
    """Return the lengths of all dimensions but one, which must be there."""
    dim %= len(shape)
    return (*shape[:dim], *shape[dim + 1 :])


def only_rows(dim: int, name: str) -> None:
    """Refuse any other dimension than the first."""
    if dim != 0:
        raise InvalidArgument(f"{name} can be merged along dimension 0 only, not {dim}")
