"""``Text``: UTF-8 text, whole or in pieces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .base import Content, Encoded, IODescriptor


class Text(IODescriptor):
    """Text. A generator's pieces are sent as they come; ``content_type="text/event-stream"`` says what they are."""

    value_class = ("builtins", "str")

    def __init__(self, content_type: str = "text/plain"):
        self._mime_type = content_type

    def _take_sample(self, sample: str | bytes) -> str:
        return sample.decode("utf-8") if isinstance(sample, bytes) else sample

    def to_spec(self) -> dict[str, Any]:
        """Return what ``from_spec`` makes an equal descriptor of; upstream has no arguments here."""
        return {"id": self.descriptor_id}

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Text:  # noqa: ARG003 (there is nothing in it but the id)
        """Make the descriptor that ``to_spec`` has described."""
        return cls()

    def decode(self, content: Content) -> str:
        """Return the body as text, whatever its type."""
        return bytes(content.body).decode("utf-8")

    def encode(self, value: Any) -> Encoded:
        """Return the body of a text, or of an iterable of pieces."""
        if isinstance(value, (str, bytes, bytearray, memoryview)):
            return self._encoded(self.encode_item(value))
        if isinstance(value, Iterable):
            return self._encoded(b"".join(self.encode_item(item) for item in value))
        raise TypeError(f"an API with the output `Text` returned a value of type `{type(value).__name__}`")

    def encode_item(self, item: Any) -> bytes:
        """Return one piece of a stream."""
        if not isinstance(item, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"a piece of text has the type `{type(item).__name__}`")
        return item.encode("utf-8") if isinstance(item, str) else bytes(item)

    def openapi_schema(self) -> dict[str, Any]:
        """Return the schema of bodies in /docs.json."""
        return {"type": "string"}
