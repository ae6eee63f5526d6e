"""``PILImageEncoder``: how pydantic reads and writes an image of Pillow."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from .files import is_image
from .uploads import Upload


@dataclass(frozen=True)
class PILImageEncoder:
    """An image, opened but not decoded yet, as ``PIL.Image.open`` gives it."""

    # The names of the two functions stand in the errors that clients get: they are upstream's.
    def decode(self, value: Any) -> Any:
        """Open what was sent; an image passes as it is."""
        from pydantic_core import PydanticCustomError

        if is_image(value):
            return value
        upload = Upload.of(value)
        if upload is None:
            raise PydanticCustomError("image_type", "Invalid image type")
        return _open(upload)

    def encode(self, image: Any) -> bytes:
        """Return the image in its own format, or as PNG."""
        buffer = io.BytesIO()
        image.save(buffer, format=image.format or "PNG")
        return buffer.getvalue()

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
            described.update(type="file", format="image", pil=True)
        else:
            described.update(type="string", format="binary")
        return described


def has_broken_image(values: Any) -> bool:
    """Tell whether an image among the values that an API got cannot be decoded: that is done at work, not before."""
    return any(is_image(value) and _is_broken(value) for value in _flat(values))


def _flat(values: Any) -> list[Any]:
    return [item for value in values for item in (value if isinstance(value, (list, tuple)) else [value])]


def _is_broken(image: Any) -> bool:
    try:
        image.load()
    except ValueError as error:
        return "closed" not in str(error)  # user code may have closed it, which is no fault of the client
    except Exception:  # decoders raise what they like
        return True
    return False


def _open(upload: Upload) -> Any:
    """Open an image; the media type that came with it chooses the decoder."""
    from PIL import Image
    from pydantic_core import PydanticCustomError

    formats = _formats(upload.media_type)
    try:
        return Image.open(upload.open(), formats=formats)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if formats is None:
            raise PydanticCustomError("image_parsing", "Input is not an image of a known format") from error
        declared = {"media_type": upload.media_type}
        raise PydanticCustomError("image_parsing", "Input is not an image of type {media_type}", declared) from error


def _formats(media_type: str | None) -> list[str] | None:
    """Return the formats of Pillow that a media type means; None is any of them."""
    if media_type is None or not media_type.startswith("image/"):
        return None
    from PIL import Image

    Image.init()
    named = {name for name, declared in Image.MIME.items() if declared == media_type}
    subtype = media_type[len("image/") :].upper()
    named |= {subtype} & set(Image.OPEN)
    if subtype == "JPG":  # no media type, but usual
        named.add("JPEG")
    return sorted(named & set(Image.OPEN)) or None
