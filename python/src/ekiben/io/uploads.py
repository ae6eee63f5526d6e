"""``Upload``: a file that a client sent, before the type of its parameter makes a path or an image of it."""

from __future__ import annotations

import io
import os
import shutil
from typing import Any, BinaryIO, Union

Buffer = Union[bytes, bytearray, memoryview]


class Upload:
    """The content of a file, with the name and media type that came with it."""

    __slots__ = ("_content", "filename", "media_type")

    def __init__(self, content: Buffer | BinaryIO, filename: str | None = None, media_type: str | None = None):
        self._content = content
        self.filename = filename
        self.media_type = media_type

    @classmethod
    def of(cls, value: Any) -> Upload | None:
        """Return ``value`` as an upload: bytes and open files are ones; None for what has no content."""
        if isinstance(value, cls):
            return value
        if isinstance(value, (bytes, bytearray, memoryview)):
            return cls(value)
        if hasattr(value, "read") and hasattr(value, "seek"):
            name = getattr(value, "name", None)
            return cls(value, os.path.basename(name) if isinstance(name, str) else None)
        return None

    def open(self) -> BinaryIO:
        """Return the content as a file, from its beginning."""
        if isinstance(self._content, (bytes, bytearray, memoryview)):
            return io.BytesIO(self._content)
        self._content.seek(0)
        return self._content

    def save(self, file: BinaryIO) -> None:
        """Write the content to a file; what is in memory is not copied there."""
        if isinstance(self._content, (bytes, bytearray, memoryview)):
            file.write(self._content)
        else:
            shutil.copyfileobj(self.open(), file)
