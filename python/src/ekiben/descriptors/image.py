"""``Image``: a picture, as Pillow has it."""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..exceptions import BadInput, InternalServerError, InvalidArgument
from ..io.forms import FORM_DATA, form_parts
from .base import Content, Encoded, IODescriptor

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MISSING = "'Pillow' is required to use the Image IO descriptor. Install with 'pip install pillow'."
# Formats that Pillow writes and cannot read.
WRITE_ONLY = {"PALM", "PDF"}


class Image(IODescriptor):
    """A picture: the raw body, or the first part of a form that is one. Answers have ``mime_type``."""

    def __init__(
        self,
        pilmode: str | None = "RGB",
        mime_type: str = "image/jpeg",
        *,
        allowed_mime_types: Iterable[str] | None = None,
    ):
        formats = _formats()
        import PIL.Image

        if pilmode is not None and pilmode not in PIL.Image.MODES:
            raise InvalidArgument(
                f"Invalid Image pilmode '{pilmode}'. Supported PIL modes are {', '.join(PIL.Image.MODES)}."
            )
        self._mime_type = mime_type.lower()
        if self._mime_type not in formats:
            raise InvalidArgument(
                f"Invalid Image mime_type '{mime_type}'; supported mime types are {', '.join(sorted(formats))}"
            )
        self._pilmode = pilmode
        if allowed_mime_types is None:
            allowed = {media for media, name in formats.items() if name not in WRITE_ONLY}
        else:
            allowed = {media.lower() for media in allowed_mime_types}
        self._allowed = sorted(allowed)

    def _take_sample(self, sample: Any) -> Any:
        import PIL.Image

        if isinstance(sample, (str, os.PathLike, io.IOBase)):
            try:
                sample = PIL.Image.open(sample)
            except PIL.Image.UnidentifiedImageError as error:
                raise BadInput(f"Failed to parse sample image file: {error}") from None
        elif not isinstance(sample, PIL.Image.Image):
            try:
                sample = PIL.Image.fromarray(sample)
            except (AttributeError, TypeError) as error:
                raise InvalidArgument(f"{sample} is not a valid image: {error}") from None
        self._mime_type = PIL.Image.MIME.get(sample.format or "", self._mime_type)
        return sample

    def _arguments(self) -> dict[str, Any]:
        return {"pilmode": self._pilmode, "mime_type": self._mime_type, "allowed_mime_types": self._allowed}

    def decode(self, content: Content) -> Picture:
        """Return the picture in a body."""
        body = self._picture(content)
        import PIL.Image

        try:
            return PIL.Image.open(io.BytesIO(body))
        except PIL.Image.UnidentifiedImageError:
            # Pillow's own text has an address of this process in it.
            raise BadInput("Failed to parse uploaded image file: cannot identify image file") from None

    def _picture(self, content: Content) -> bytes:
        if content.media_type != FORM_DATA:
            if content.media_type not in self._allowed:
                raise BadInput(
                    f"mime type {content.media_type} is not allowed, allowed mime types are: {', '.join(self._allowed)}"
                )
            return bytes(content.body)
        found = []
        for part in form_parts(content.body, content.content_type or ""):
            media = (part.headers.get("content-type") or "").partition(";")[0].strip().lower()
            if media in self._allowed:
                return bytes(part.content)
            if part.filename is not None:
                found.append(media)
        if not found:
            raise BadInput("no image file found in multipart form")
        raise BadInput(
            f"no multipart image file (allowed mime types are: {', '.join(self._allowed)}), got files with content "
            f"types {', '.join(found)}"
        )

    def encode(self, value: Any) -> Encoded:
        """Return the picture, or the array made one, as a file of the declared type."""
        import PIL.Image

        array = getattr(sys.modules.get("numpy"), "ndarray", None)
        if array is not None and isinstance(value, array):
            value = PIL.Image.fromarray(value, mode=self._pilmode)
        if not isinstance(value, PIL.Image.Image):
            raise BadInput(
                f"Unsupported Image type received: '{type(value)}', the Image IO descriptor only supports 'np.ndarray' "
                "and 'PIL.Image'."
            )
        name = _formats()[self._mime_type]
        file = io.BytesIO()
        value.save(file, format=name)
        disposition = f'attachment; filename="output.{name.lower()}"'
        return Encoded(file.getvalue(), [("content-disposition", disposition), ("content-type", self._mime_type)])

    def openapi_schema(self) -> dict[str, Any]:
        """Return the schema of bodies in /docs.json."""
        return {"type": "string", "format": "binary"}

    def openapi_example(self) -> None:
        """Return nothing: a picture has no place in a document."""
        return

    def _request_types(self) -> list[str]:
        return self._allowed


@functools.lru_cache(maxsize=1)
def _formats() -> dict[str, str]:
    """Return Pillow's name of the format of every media type."""
    try:
        import PIL.Image
    except ImportError:
        raise InternalServerError(MISSING) from None
    PIL.Image.init()
    return {media: name for name, media in PIL.Image.MIME.items()}
