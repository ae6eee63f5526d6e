"""From an answer to the value that a call returns, and from the pieces of a stream to its items."""

from __future__ import annotations

import codecs
import io
import json
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .values import from_json

if TYPE_CHECKING:
    from pathlib import Path

    from .endpoint import Endpoint
    from .transport.messages import Response

JSON = "application/json"
DECODER = json.JSONDecoder()
UNREAD = object()


class Downloads:
    """The files that a client got, in a directory that goes with the client."""

    def __init__(self) -> None:
        self._directory: Any = None

    def save(self, response: Response) -> Path:
        """Write a body to a file, under the name that the server gave it."""
        from pathlib import Path

        from ..io.files import safe_suffix
        from ..io.forms import header_parameters, sent_filename

        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="bentoml-client-")
        name = sent_filename(header_parameters(response.headers.get("content-disposition", "")))
        with tempfile.NamedTemporaryFile(suffix=safe_suffix(name), dir=self._directory.name, delete=False) as file:
            file.write(response.content)
        return Path(file.name)


def decode(endpoint: Endpoint, response: Response, downloads: Downloads) -> Any:
    """Return the value of an answer."""
    schema, content = endpoint.output, response.content
    kind = schema.get("type")
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "file":
        return _image(response, media_type) if schema.get("pil") else downloads.save(response)
    if endpoint.method is not None and media_type == JSON:
        return _exact(endpoint.method, content)
    if kind == "string":
        return _text(content, schema)
    if kind is None and media_type not in (JSON, ""):  # a file or text where anything may be returned
        return content.decode("utf-8") if media_type.startswith("text/") else content
    return from_json(json.loads(content or b"{}"), schema)


def _exact(method: Any, content: bytes) -> Any:
    """Return the value in the type that the API's own annotation names."""
    return method.output_spec.decode(content)


def _text(content: bytes, schema: dict[str, Any]) -> Any:
    if schema.get("format") == "binary":
        return content
    text = content.decode("utf-8")
    if "format" in schema and text.startswith('"'):  # times and the like are JSON, mere text is not
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _image(response: Response, media_type: str) -> Any:
    from PIL import Image

    formats = [media_type[len("image/") :]] if media_type.startswith("image/") else None
    return Image.open(io.BytesIO(response.content), formats=formats)


class Items:
    """Makes items of the pieces of a stream, wherever the network has cut it."""

    def __init__(self, schema: dict[str, Any]):
        self._schema = schema
        kind = schema.get("type")
        self._is_binary = kind == "string" and schema.get("format") == "binary"
        self._is_text = kind == "string"
        # Anything may be yielded: text goes as it is, other values as JSON.
        self._is_untyped = kind is None and "$ref" not in schema
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""

    def feed(self, piece: bytes) -> Iterator[Any]:
        """Yield the items that are complete."""
        if self._is_binary:
            yield piece
            return
        text = self._decoder.decode(piece)
        if self._is_text:
            if text:
                yield text
        elif self._is_untyped:
            yield _json_or(text, text)
        elif not self._rest and (whole := _json_or(text, UNREAD)) is not UNREAD:
            yield from_json(whole, self._schema)  # servers send an item as one piece
        else:
            self._rest += text
            yield from self._documents()

    def finish(self) -> None:
        """Raise when the stream ends inside an item."""
        from .transport.errors import ProtocolError

        if self._rest.strip() or (self._is_text and self._decoder.getstate()[0]):
            raise ProtocolError("the stream ended inside an item")

    def _documents(self) -> Iterator[Any]:
        """Yield the JSON documents that follow each other without a separator."""
        while True:
            text = self._rest.lstrip()
            try:
                value, end = DECODER.raw_decode(text)
            except ValueError:
                return
            self._rest = text[end:]
            yield from_json(value, self._schema)


def _json_or(text: str, otherwise: Any) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return otherwise
