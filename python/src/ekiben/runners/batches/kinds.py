"""The kinds of values that can be merged, and what is done with one value or several of one kind."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from ...exceptions import BentoMLException, InvalidArgument
from .arrays import ArrayBatch
from .frames import FrameBatch, SeriesBatch
from .kind import BatchKind, bounds_of
from .lists import ListBatch
from .tensors import JaxBatch, TensorFlowBatch, TorchBatch

KINDS: tuple[BatchKind, ...] = (
    ArrayBatch(),
    ListBatch(),
    FrameBatch(),
    SeriesBatch(),
    TorchBatch(),
    TensorFlowBatch(),
    JaxBatch(),
)


def kind_of(value: Any) -> BatchKind | None:
    """Return the kind of a value; None for what cannot be merged."""
    return next((kind for kind in KINDS if kind.holds(value)), None)


def batch_size(value: Any, dim: int = 0) -> int:
    """Return how many items of a batch a value is: its length along the dimension, 1 for what cannot be merged."""
    kind = kind_of(value)
    return 1 if kind is None else kind.size(value, dim)


def merge_key(value: Any, dim: int = 0) -> Hashable:
    """Return what a value has in common with those that it may be merged with; None for what cannot be merged."""
    kind = kind_of(value)
    key = None if kind is None else kind.key(value, dim)
    return None if kind is None or key is None else (kind.name, key)


def concatenate(values: Sequence[Any], dim: int = 0) -> tuple[Any, list[int]]:
    """Merge values along a dimension; return the batch, and how much of it each value is.

    ``InvalidArgument`` when they are not of one kind, type and shape.
    """
    if not values:
        raise InvalidArgument("there are no values to merge")
    kind, key = kind_of(values[0]), merge_key(values[0], dim)
    if kind is None or key is None:
        raise InvalidArgument(f"a value of type `{type(values[0]).__name__}` cannot be merged with others")
    for value in values:
        if merge_key(value, dim) != key:
            raise InvalidArgument(f"{_described(value)} cannot be merged with {_described(values[0])}")
    return kind.concatenate(values, dim), [kind.size(value, dim) for value in values]


def split(batch: Any, sizes: Sequence[int], dim: int = 0) -> list[Any]:
    """Return the parts of a result that belong to the merged values; an error unless the sizes are the whole of it."""
    kind = kind_of(batch)
    if kind is None:
        raise BentoMLException(
            f"a batchable method must return arrays, tensors, data frames or lists, not a value of type "
            f"`{type(batch).__name__}`"
        )
    length = kind.size(batch, dim)
    if length != sum(sizes):
        raise BentoMLException(
            f"a batchable method got {sum(sizes)} items and returned {length} along dimension {dim}: it must return "
            "one for each"
        )
    return kind.cut(batch, bounds_of(sizes), dim)


def _described(value: Any) -> str:
    """Return what a message says about a value: its type, and of arrays and tensors also theirs."""
    said = f"`{type(value).__name__}`"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None:
        said += f" of shape {tuple(shape)}"
    return said if dtype is None else f"{said} and type {dtype}"
