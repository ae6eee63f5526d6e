"""Files as values: ``FileSchema`` makes a path of what a client sent, ``file_body`` an answer of a path or an image."""

from __future__ import annotations

import fnmatch
import functools
import io
import mimetypes
import mmap
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Union

from ..context import request_temp_dir
from .uploads import Upload

Headers = list[tuple[str, str]]
FileBody = tuple[Headers, Union[bytes, memoryview]]

# A name of 255 bytes is the most that file systems take, of which the random beginning needs a few.
MAX_SUFFIX_BYTES = 200
# Above this a file is mapped and sent from the page cache; below, reading it is cheaper.
MAP_ABOVE = 1 << 20


@dataclass(frozen=True)
class FileSchema:
    """A path to a file of the request's own directory, which holds what the client sent."""

    format: str = "binary"
    content_type: str | None = None

    def __post_init__(self) -> None:
        if self.content_type is not None:
            object.__setattr__(self, "format", self.content_type.partition("/")[0])

    # The names of the two functions stand in the errors that clients get: they are upstream's.
    def decode(self, value: Any) -> Any:
        """Write what was sent to a file; a path passes as it is."""
        from pydantic_core import PydanticCustomError

        if isinstance(value, PurePath):
            return Path(value)
        upload = Upload.of(value)
        if upload is None:
            raise PydanticCustomError("path_type", "Invalid file type")
        sent, expected = upload.media_type, self.content_type
        if sent is not None and expected is not None and not fnmatch.fnmatch(sent, expected):
            raise ValueError(f"Invalid content type {sent}, expected {expected}")
        with tempfile.NamedTemporaryFile(
            suffix=safe_suffix(upload.filename), dir=request_temp_dir(), delete=False
        ) as file:
            upload.save(file)  # type: ignore[arg-type] (a binary file)
        return Path(file.name)

    def encode(self, path: Any) -> bytes:
        """Return the file's content."""
        return Path(path).read_bytes()

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            self.decode,
            core_schema.any_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(self.encode),
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        described = handler(schema)
        if handler.mode == "validation":
            described.update(type="file", format=self.format)
            if self.content_type is not None:
                described["content_type"] = self.content_type
        else:
            described.update(type="string", format="binary")
        return described


def is_image(value: Any) -> bool:
    """Recognise an image of Pillow, which need not be installed."""
    return _is_image_class(type(value))


@functools.lru_cache(maxsize=256)
def _is_image_class(kind: type) -> bool:
    return any(base.__module__ == "PIL.Image" and base.__name__ == "Image" for base in kind.__mro__)


def file_body(value: Any, media_type: str) -> FileBody | None:
    """Return headers and body of a file or image as an answer; None for any other value.

    ``media_type`` is that of a file whose name tells none.
    """
    if isinstance(value, PurePath):
        return _path_body(Path(value), media_type)
    return _image_body(value) if is_image(value) else None


def _path_body(path: Path, media_type: str) -> FileBody:
    guessed = mimetypes.guess_type(path.name)[0] or media_type
    # Opening a pipe would wait for its writer.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"the API returned `{path}`, which is no file")
        if status.st_size < MAP_ABOVE:
            body: bytes | memoryview = file.read()
        else:
            body = memoryview(mmap.mmap(file.fileno(), status.st_size, access=mmap.ACCESS_READ))
    return [
        ("content-type", guessed + ("; charset=utf-8" if guessed.startswith("text/") else "")),
        ("accept-ranges", "bytes"),
        ("content-disposition", _disposition(path.name, is_inline=guessed.startswith("image"))),
        *_validators(status),
    ], body


def _disposition(name: str, *, is_inline: bool) -> str:
    from urllib.parse import quote

    kind = "inline" if is_inline else "attachment"
    quoted = quote(name)
    return f'{kind}; filename="{name}"' if quoted == name else f"{kind}; filename*=utf-8''{quoted}"


def _validators(status: os.stat_result) -> Headers:
    """Return the headers by which a client knows whether the file has changed."""
    import hashlib
    from email.utils import formatdate

    version = f"{status.st_mtime}-{status.st_size}"
    etag = hashlib.md5(version.encode(), usedforsecurity=False).hexdigest()
    return [("last-modified", formatdate(status.st_mtime, usegmt=True)), ("etag", f'"{etag}"')]


def _image_body(image: Any) -> FileBody:
    buffer = io.BytesIO()
    # What was made of a loaded image, as by `resize`, has no format.
    image_format = image.format or "PNG"
    image.save(buffer, format=image_format)
    return [("content-type", f"image/{image_format.lower()}")], buffer.getvalue()


def safe_suffix(filename: str | None) -> str | None:
    """Return the end of a temporary file's name: what the client called it, without directories."""
    if not filename:
        return None
    name = re.sub(r"[\x00-\x1f\x7f]", "", re.split(r"[/\\]", filename)[-1])
    while len(name.encode("utf-8", "replace")) > MAX_SUFFIX_BYTES:
        name = name[1:]  # the end is kept: it has the extension
    return name.encode("utf-8", "replace").decode("utf-8")
