"""Calls with several arguments: all are merged along the same dimension, and by the same sizes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from ...exceptions import InvalidArgument
from .kinds import batch_size, concatenate, merge_key, split


def call_size(args: Sequence[Any], kwargs: Mapping[str, Any], dim: int = 0) -> int:
    """Return how many items of a batch a call is; ``ValueError`` when its arguments do not agree."""
    sizes = {batch_size(value, dim) for value in (*args, *kwargs.values())}
    if len(sizes) > 1:
        raise ValueError("All batchable arguments must have the same batch size.")
    return sizes.pop() if sizes else 1


def call_key(args: Sequence[Any], kwargs: Mapping[str, Any], dim: int = 0) -> Hashable:
    """Return what a call has in common with those that it may be merged with; None for one that must run alone."""
    keys = (
        tuple(merge_key(value, dim) for value in args),
        tuple((name, merge_key(kwargs[name], dim)) for name in sorted(kwargs)),
    )
    values = [*keys[0], *(key for _, key in keys[1])]
    return keys if values and None not in values else None


def merge_calls(
    calls: Sequence[tuple[Sequence[Any], Mapping[str, Any]]], dim: int = 0
) -> tuple[tuple[Any, ...], dict[str, Any], list[int]]:
    """Merge calls with equal keys: return the arguments of the one call, and how much of it each call is."""
    if not calls:
        raise InvalidArgument("there are no calls to merge")
    args, kwargs = calls[0]
    if not args and not kwargs:
        raise InvalidArgument("a call without arguments cannot be merged with others")
    sizes = [call_size(*call, dim) for call in calls]
    for other_args, other_kwargs in calls:
        if len(other_args) != len(args) or set(other_kwargs) != set(kwargs):
            raise InvalidArgument("calls that give different arguments cannot be merged")
    merged_args = tuple(concatenate([call[0][place] for call in calls], dim)[0] for place in range(len(args)))
    merged_kwargs = {name: concatenate([call[1][name] for call in calls], dim)[0] for name in kwargs}
    return merged_args, merged_kwargs, sizes


def split_result(result: Any, sizes: Sequence[int], dim: int = 0) -> list[Any]:
    """Return the result of each merged call; a tuple is several outputs, each of which is split."""
    if isinstance(result, tuple) and result:
        return list(zip(*(split(output, sizes, dim) for output in result)))
    return split(result, sizes, dim)
