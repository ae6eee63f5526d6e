"""Files that a client sends: paths, open files, bytes, images; or URLs, which the server downloads."""

from __future__ import annotations

import io
import json
import mimetypes
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple, Union

from ..io.files import is_image
from .transport.messages import Body, Part
from .values import plain

DEFAULT_NAME = "upload-file"


class SentFile(NamedTuple):
    """A file on its way."""

    name: str
    content: Part
    media_type: str | None


Sent = Union[SentFile, str]


def file_of(value: Any) -> Sent:
    """Return the file that an argument is; text is a path of this machine, or a URL for the server to fetch."""
    if isinstance(value, str):
        if value.lower().startswith(("http://", "https://")):
            return value
        value = Path(value)
    if is_image(value):
        return _image(value)
    if isinstance(value, PurePath):
        path = Path(value)
        return SentFile(path.name, path, mimetypes.guess_type(path.name)[0])
    if isinstance(value, (bytes, bytearray, memoryview)):
        return SentFile(DEFAULT_NAME, bytes(value), None)
    if hasattr(value, "read"):
        name = getattr(value, "name", None)
        name = os.path.basename(name) if isinstance(name, str) and name else DEFAULT_NAME
        return SentFile(name, value, mimetypes.guess_type(name)[0])
    raise TypeError(
        f"a value of type `{type(value).__name__}` is no file: give a path, an open file, bytes, an image or a URL"
    )


def form_of(arguments: Mapping[str, Any], files: set[str]) -> tuple[str, Body]:
    """Return content type and body of a form; members that are no files are JSON."""
    boundary = uuid.uuid4().hex
    parts: list[Part] = []
    for name, value in arguments.items():
        sent: Iterator[Sent]
        if name in files:
            if value is None:
                continue
            sent = iter([file_of(item) for item in (value if isinstance(value, (list, tuple)) else [value])])
        else:
            sent = iter([json.dumps(value, default=plain)])
        for item in sent:
            parts += _part(boundary, name, item)
    parts.append(f"--{boundary}--\r\n".encode("ascii"))
    return f"multipart/form-data; boundary={boundary}", Body(*_joined(parts))


def is_file(schema: Mapping[str, Any]) -> bool:
    """Tell whether a parameter is a file or a list of files."""
    kind = schema.get("items", {}) if schema.get("type") == "array" else schema
    return isinstance(kind, Mapping) and kind.get("type") == "file"


def _part(boundary: str, name: str, item: Sent) -> list[Part]:
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="{_quoted(name)}"'
    if isinstance(item, str):
        return [f"{head}\r\n\r\n{item}\r\n".encode()]
    media_type = item.media_type or "application/octet-stream"
    head += f'; filename="{_quoted(item.name)}"\r\ncontent-type: {media_type}\r\n\r\n'
    return [head.encode(), item.content, b"\r\n"]


def _quoted(name: str) -> str:
    """Write a name as browsers do."""
    return name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _joined(parts: list[Part]) -> list[Part]:
    """Join bytes that follow each other, so that a small form is one piece."""
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def _image(image: Any) -> SentFile:
    """Return an image as it was opened, or in its format where that is gone; PNG where it has none."""
    kind = image.format or "PNG"
    media_type = f"image/{kind.lower()}"
    name = getattr(image, "filename", "") or f"upload-image.{kind.lower()}"
    file = getattr(image, "fp", None)
    # What is left to decode is in `tile`. A decoded image may have been changed, and is written anew.
    if getattr(image, "tile", None) and file is not None and not getattr(file, "closed", True):
        file.seek(0)
        content = file.read()
        file.seek(0)
        return SentFile(os.path.basename(str(name)), content, media_type)
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **({"quality": "keep"} if _keeps_quality(image) else {}))
    return SentFile(os.path.basename(str(name)), buffer.getvalue(), media_type)


def _keeps_quality(image: Any) -> bool:
    """Tell whether a JPEG can be written as it was read, which is for images that come from a file."""
    return image.format == "JPEG" and type(image).__name__ == "JpegImageFile"
