"""``to_sync`` and ``to_async``: the APIs of an instance in the other calling style."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from ..apis.method import APIMethod

# What `next` gives at the end of a generator: a StopIteration cannot pass through a future.
END = object()


class SyncCalls:
    """Every API as a plain call."""

    def __init__(self, instance: Any, apis: Mapping[str, APIMethod]):
        for name, method in apis.items():
            setattr(self, name, _in_sync(method.bind(instance), method))


class AsyncCalls:
    """Every API as a coroutine or asynchronous generator; synchronous ones run in a thread."""

    def __init__(self, instance: Any, apis: Mapping[str, APIMethod]):
        for name, method in apis.items():
            setattr(self, name, _in_async(method.bind(instance), method))


def _in_sync(call: Callable[..., Any], method: APIMethod) -> Callable[..., Any]:
    if not method.is_async:
        return call

    @functools.wraps(call)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(call(*args, **kwargs))

    @functools.wraps(call)
    def iterate(*args: Any, **kwargs: Any) -> Iterator[Any]:
        loop = asyncio.new_event_loop()
        items = call(*args, **kwargs)
        try:
            while (item := loop.run_until_complete(anext_or_end(items))) is not END:
                yield item
        finally:
            loop.run_until_complete(items.aclose())
            loop.close()

    return iterate if method.is_stream else run


def _in_async(call: Callable[..., Any], method: APIMethod) -> Callable[..., Any]:
    if method.is_async:
        return call

    @functools.wraps(call)
    async def run(*args: Any, **kwargs: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, functools.partial(call, *args, **kwargs))

    @functools.wraps(call)
    async def iterate(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        items = call(*args, **kwargs)
        loop = asyncio.get_running_loop()
        while (item := await loop.run_in_executor(None, next, items, END)) is not END:
            yield item

    return iterate if method.is_stream else run


async def anext_or_end(items: Any) -> Any:
    """Return the next item of an asynchronous generator, or ``END``."""
    try:
        return await items.__anext__()
    except StopAsyncIteration:
        return END
