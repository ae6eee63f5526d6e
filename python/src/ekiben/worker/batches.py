"""Several calls of one API at once: merged by the front, or here, computed together, and answered one by one.

What an API gets is never more than its ``max_batch_size`` rows, and every call gets what it would have got alone: calls
whose arguments cannot be merged are computed in batches of their own, and where a batch fails its calls are computed
one by one, so that an error stays with the call that caused it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from ..runners.batches import call_key, call_size, concatenate, merge_calls, split, split_result
from ..runners.batches.kinds import kind_of

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass
class Share:
    """One call of a batch: its arguments or the error that they are, and what became of it."""

    arguments: Arguments | None = None
    error: BaseException | None = None
    value: Any = None

    def taken(self) -> Any:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value


def compute(function: Callable[..., Any], shares: Sequence[Share], dims: tuple[int, int], max_size: int) -> None:
    """Answer the calls of a batch with a synchronous function."""
    for group in groups(shares, dims[0], max_size):
        merged = merge(group, dims[0])
        if merged is None:
            continue
        args, kwargs, sizes = merged
        try:
            results = split_result(compute_in_parts(function, args, kwargs, dims, max_size), sizes, dims[1])
        except Exception as error:
            if len(group) == 1:
                group[0].error = error
                continue
            for share in group:
                compute(function, [share], dims, max_size)
        else:
            give(group, results)


async def compute_async(
    function: Callable[..., Any], shares: Sequence[Share], dims: tuple[int, int], max_size: int
) -> None:
    """Answer the calls of a batch with an asynchronous function."""
    for group in groups(shares, dims[0], max_size):
        merged = merge(group, dims[0])
        if merged is None:
            continue
        args, kwargs, sizes = merged
        try:
            results = split_result(await compute_in_parts_async(function, args, kwargs, dims, max_size), sizes, dims[1])
        except Exception as error:
            if len(group) == 1:
                group[0].error = error
                continue
            for share in group:
                await compute_async(function, [share], dims, max_size)
        else:
            give(group, results)


def groups(shares: Sequence[Share], dim: int, max_size: int) -> list[list[Share]]:
    """Return the calls that can be merged together, in their order, each group within the limit."""
    found: list[list[Share]] = []
    open_groups: dict[Hashable, tuple[list[Share], int]] = {}
    for share in shares:
        if share.arguments is None:
            continue
        try:
            args, kwargs = share.arguments
            key, size = call_key(args, kwargs, dim), call_size(args, kwargs, dim)
        except Exception as error:
            share.error = error
            continue
        group, rows = open_groups.get(key, ([], 0))
        if key is None or not group or rows + size > max_size:
            group, rows = [], 0
            found.append(group)
        group.append(share)
        if key is not None:
            open_groups[key] = (group, rows + size)
    return found


def merge(group: list[Share], dim: int) -> tuple[tuple[Any, ...], dict[str, Any], list[int]] | None:
    """Return the arguments of the one call; None when merging fails, which every call of the group is then told."""
    calls = [share.arguments for share in group if share.arguments is not None]
    if len(calls) == 1:
        args, kwargs = calls[0]
        return args, kwargs, [call_size(args, kwargs, dim)]
    try:
        return merge_calls(calls, dim)
    except Exception as error:
        for share in group:
            share.error = error
        return None


def compute_in_parts(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], dims: tuple[int, int], max_size: int
) -> Any:
    """Call the function, several times when there is more than it takes at once."""
    parts = parts_of(args, kwargs, dims[0], max_size)
    if parts is None:
        return function(*args, **kwargs)
    return joined([function(*part[0], **part[1]) for part in parts], dims[1])


async def compute_in_parts_async(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], dims: tuple[int, int], max_size: int
) -> Any:
    """Await the function, several times when there is more than it takes at once."""
    parts = parts_of(args, kwargs, dims[0], max_size)
    if parts is None:
        return await function(*args, **kwargs)
    return joined([await function(*part[0], **part[1]) for part in parts], dims[1])


def parts_of(args: tuple[Any, ...], kwargs: dict[str, Any], dim: int, max_size: int) -> list[Arguments] | None:
    """Return the arguments cut into calls within the limit; None for a call that is within it or cannot be cut."""
    values = [*args, *kwargs.values()]
    try:
        size = call_size(args, kwargs, dim)
    except ValueError:  # arguments that are no batch together
        return None
    if size <= max_size or any(kind_of(value) is None for value in values):
        return None
    sizes = [max_size] * (size // max_size) + ([size % max_size] if size % max_size else [])
    cut_args = [split(value, sizes, dim) for value in args]
    cut_kwargs = {name: split(value, sizes, dim) for name, value in kwargs.items()}
    return [
        (tuple(cut[place] for cut in cut_args), {name: cut[place] for name, cut in cut_kwargs.items()})
        for place in range(len(sizes))
    ]


def joined(results: list[Any], dim: int) -> Any:
    """Return the results of the parts as the one that the whole would have had."""
    if isinstance(results[0], tuple):
        return tuple(concatenate(list(outputs), dim)[0] for outputs in zip(*results))
    return concatenate(results, dim)[0]


def give(group: list[Share], results: list[Any]) -> None:
    """Answer every call with its part of the result."""
    for share, value in zip(group, results):
        share.value = value
