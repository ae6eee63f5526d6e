"""Streams: one ``chunk`` frame per item of a generator.

The first item is awaited before the headers go out, so that an error before it is an ordinary error answer. An error
after it ends the stream with a message: the front must abort the client's connection, not pretend a good end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from ..services.local import END, anext_or_end
from .answers import Answer, checked_status, response_headers

if TYPE_CHECKING:
    from .calls import Call
    from .channel import Channel


def send_stream(channel: Channel, call: Call, items: Iterator[Any]) -> None:
    """Send the items of a generator; this occupies the calling thread."""
    try:
        item = next(items, END)
        _send_head(channel, call)
        encode = call.method.output_spec.encode_item
        while item is not END and not call.cancelled:
            channel.wait_for_space()
            channel.send({"type": "chunk", "id": call.id}, encode(item))
            item = next(items, END)
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
    channel.send({"type": "end", "id": call.id, "error": "the call was cancelled" if call.cancelled else None})


async def send_async_stream(channel: Channel, call: Call, items: AsyncIterator[Any], response: Any = None) -> None:
    """Send the items of an asynchronous generator, which is closed in any case."""
    try:
        item = await anext_or_end(items)
        _send_head(channel, call, response)
        encode = call.method.output_spec.encode_item
        # The response of a synchronous API has no task of its own that could be cancelled.
        while item is not END and not call.cancelled:
            await channel.space()
            channel.send({"type": "chunk", "id": call.id}, encode(item))
            item = await anext_or_end(items)
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()
    channel.send({"type": "end", "id": call.id, "error": "the call was cancelled" if call.cancelled else None})


def _send_head(channel: Channel, call: Call, response: Any = None) -> None:
    from .calls import apply_context

    if response is None:
        answer = Answer(200, [("content-type", call.method.output_spec.content_type)])
    else:
        answer = Answer(checked_status(response.status_code), response_headers(response))
    answer = apply_context(call, answer)
    call.started = True
    channel.send({"type": "stream", "id": call.id, "status": answer.status, "headers": answer.headers})
