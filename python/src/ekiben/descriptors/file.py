"""``File``: any body, as an open file."""

from __future__ import annotations

import io
import mimetypes
import os
from pathlib import Path
from typing import Any

from ..exceptions import BentoMLException
from ..io.forms import FORM_DATA, form_parts
from .base import Content, Encoded, IODescriptor

# The name of a file that came without one.
UNNAMED = "<request body>"


class FileLike(io.BytesIO):
    """An open file in memory, with the name that the client gave it."""

    def __init__(self, content: bytes, name: str):
        super().__init__(content)
        self.name = name


class File(IODescriptor):
    """A file: the raw body, or the first file of a form. With ``mime_type`` only a file of that type."""

    _mime_type: str | None  # type: ignore[assignment] (None is any)

    def __init__(self, kind: str = "binaryio", mime_type: str | None = None):
        if kind != "binaryio":
            raise ValueError(f"invalid File kind '{kind}'")
        self._mime_type = mime_type

    @property
    def mime_type(self) -> Any:
        """The media type of files; None is any."""
        return self._mime_type

    @property
    def content_type(self) -> str:
        """The ``content-type`` header of responses."""
        return self._mime_type or "application/octet-stream"

    def _take_sample(self, sample: Any) -> Any:
        if isinstance(sample, (str, os.PathLike)):
            self._mime_type = mimetypes.guess_type(os.fspath(sample))[0] or self._mime_type
            return FileLike(Path(sample).read_bytes(), Path(sample).name)
        return sample

    def _arguments(self) -> dict[str, Any]:
        return {"kind": "binaryio", "mime_type": self._mime_type}

    def decode(self, content: Content) -> FileLike:
        """Return the file in a body. What is wrong here answers 500, as upstream does."""
        if content.media_type == FORM_DATA:
            return self._first_file(content)
        if self._mime_type is None or content.media_type == self._mime_type:
            return FileLike(bytes(content.body), content.filename or UNNAMED)
        raise BentoMLException(
            f"File should have Content-Type '{self._mime_type}' or 'multipart/form-data', got "
            f"{content.media_type or 'none'} instead"
        )

    def _first_file(self, content: Content) -> FileLike:
        found = []
        for part in form_parts(content.body, content.content_type or ""):
            if part.filename is None:
                continue
            media = part.headers.get("content-type", "")
            if self._mime_type is None or media == self._mime_type:
                return FileLike(bytes(part.content), part.filename)
            found.append(media)
        if not found:
            raise BentoMLException("no File found in multipart form")
        raise BentoMLException(
            f"The File IO descriptor requires input to be of Content-Type '{self._mime_type}', got files with content "
            f"types {', '.join(found)}"
        )

    def encode(self, value: Any) -> Encoded:
        """Return the bytes, or what a file has from its position on."""
        return self._encoded(bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else value.read())

    def openapi_schema(self) -> dict[str, Any]:
        """Return the schema of bodies in /docs.json."""
        return {"type": "string", "format": "binary"}

    def openapi_example(self) -> None:
        """Return nothing: a file has no place in a document."""
        return

    def openapi_responses(self) -> dict[str, Any]:
        """Return what /docs.json says of responses."""
        return {**super().openapi_responses(), "content": self._openapi_content(self._request_types())}

    def _request_types(self) -> list[str]:
        return [self._mime_type or "*/*"]
