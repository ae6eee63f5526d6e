"""``SSE``: one event of a stream of server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from ..exceptions import BentoMLException


@dataclass
class SSE:
    """An event; ``marshal`` is what an API with ``Text(content_type="text/event-stream")`` yields for it."""

    data: str
    event: str | None = None
    id: str | None = None
    retry: int | None = None

    def marshal(self) -> str:
        """Return the event as it stands in a stream."""
        lines = []
        if self.event:
            if "\n" in self.event:
                raise BentoMLException("SSE event name should not contain new line")
            lines.append(f"event: {self.event}")
        if self.id is not None:
            lines.append(f"id: {self.id}")
        if self.retry is not None:
            lines.append(f"retry: {self.retry}")
        lines += [f"data: {line}" for line in self.data.split("\n")]
        return "\n".join(lines) + "\n\n"

    @classmethod
    async def from_iterator(cls, async_iterator: AsyncIterator[str]) -> AsyncGenerator[SSE, None]:
        """Yield the events in the pieces of a stream, however it was cut into pieces."""
        pending = ""
        async for piece in async_iterator:
            *blocks, pending = (pending + piece).split("\n\n")
            for block in blocks:
                yield cls._parse(block)

    @classmethod
    def _parse(cls, block: str) -> SSE:
        fields: dict[str, str] = {}
        data = []
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data.append(value)
            elif name in ("event", "id", "retry"):
                fields[name] = value.strip()
        retry = fields.get("retry")
        return cls(
            data="\n".join(data),
            event=fields.get("event"),
            id=fields.get("id"),
            retry=None if retry is None else int(retry),
        )
