"""Outputs: how the value that an API returns becomes the body of the response."""

from __future__ import annotations

import inspect
import json
import sys
from functools import cached_property
from typing import Any, Callable, NamedTuple, Union

from pydantic import BaseModel, TypeAdapter

from .annotations import annotate, content_type, split
from .descriptor import describe_model, has_arrays
from .files import Headers, file_body
from .forms import FormField
from .inputs import file_fields, form_fields
from .schema import body_media_type, flatten

# What a stream is unless the annotation says otherwise.
STREAM_MEDIA_TYPE = "text/event-stream"

# Values whose rendered form is never text, so that they go straight to JSON.
NEVER_TEXT = (dict, list, tuple, int, float, bool, type(None))
# The types of elements that the front writes as JSON (`serve/batch/array.rs`).
JSON_ARRAYS = frozenset({"<f8", "<f4", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1", "|b1"})

# Values that are no files, told without a closer look.
PLAIN = (str, bytes, *NEVER_TEXT)

# What upstream answers for a model with files in it, whatever they are.
NO_MULTIPART = b"Multipart response is not supported yet"


def _json_encoder() -> Callable[[Any], str]:
    """Return what `json.dumps(value, allow_nan=False)` does, without making its encoder anew for every answer.

    Cycles are not looked for: what comes here was rendered by pydantic, which has found them, or is an array.
    """
    encoder = json.encoder
    if encoder.c_make_encoder is None:  # an interpreter without the extension module
        return json.JSONEncoder(allow_nan=False).encode
    text, default = encoder.encode_basestring_ascii, json.JSONEncoder().default
    pieces = encoder.c_make_encoder(None, default, text, None, ": ", ", ", False, False, False)
    return lambda value: "".join(pieces(value, 0))


_encode_json = _json_encoder()


class Rendered(NamedTuple):
    """A returned value as an answer."""

    status: int
    headers: Headers
    body: Union[bytes, memoryview]


class Output:
    """What both kinds of output have: a media type, and a header made of it."""

    title: str
    media_type: str
    # The media type of a `ContentType` annotation; it stands in /schema.json.
    declared_media_type: str | None = None

    def declare(self, media_type: str | None) -> None:
        """Use the media type of an annotation, if there is one."""
        if media_type is not None:
            self.declared_media_type = self.media_type = media_type

    @property
    def content_type(self) -> str:
        """The ``content-type`` header; text is UTF-8."""
        suffix = "; charset=utf-8" if self.media_type.startswith("text/") else ""
        return self.media_type + suffix

    @cached_property
    def headers(self) -> Headers:
        """The headers of an answer that is no file."""
        return [("content-type", self.content_type)]

    def render(self, value: Any) -> Rendered:
        """Return the answer for a returned value."""
        return Rendered(200, self.headers, self.encode(value))

    def encode(self, value: Any) -> bytes:
        """Return the body for a returned value."""
        raise NotImplementedError

    def encode_item(self, item: Any) -> bytes:
        """Return one piece of a stream: text and bytes as they are, other values as JSON."""
        if isinstance(item, str):
            return item.encode("utf-8")
        return bytes(item) if isinstance(item, (bytes, bytearray, memoryview)) else self.encode(item)


class ModelOutput(Output):
    """A pydantic model: compact JSON."""

    def __init__(self, model: type[BaseModel]):
        self.model = describe_model(model)
        self.title = self.model.__name__
        self._has_files = bool(file_fields(form_fields(self.model)))
        self.media_type = "multipart/form-data" if self._has_files else "application/json"
        kind = self.model if has_arrays(model, self.model) else model
        self._plain_class = model if kind is model else None
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def render(self, value: Any) -> Rendered:
        """Return the model's JSON as an answer; one with files in it cannot be sent."""
        if self._has_files:
            return Rendered(500, [], NO_MULTIPART)
        return super().render(value)

    def encode(self, value: Any) -> bytes:
        """Return the model's JSON; a value that is no model yet is made one."""
        if self._plain_class is not None and isinstance(value, self._plain_class):
            return value.model_dump_json().encode("utf-8")
        if isinstance(value, BaseModel):
            value = dict(value)
        return self._adapter.validate_python(value).model_dump_json().encode("utf-8")

    def decode(self, body: bytes) -> Any:
        """Return the value that a JSON body is, for those who call the API elsewhere."""
        return self._adapter.validate_json(body)

    def schema(self) -> dict[str, Any]:
        """Return the output's part of ``/schema.json``."""
        return flatten(self.openapi())

    def openapi(self, **options: Any) -> dict[str, Any]:
        """Return the JSON schema with the given references and mode."""
        return self.model.model_json_schema(**options)


class ValueOutput(Output):
    """Any other value: text and bytes raw, everything else as JSON in the style of ``json.dumps``."""

    model = None

    def __init__(self, annotation: Any):
        self.title = f"{getattr(annotation, '__name__', '')}IODescriptor"
        kind = annotate(annotation)
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
        self._validate = self._adapter.validator.validate_python
        self._to_python = self._adapter.serializer.to_python
        self._array_class = _array_class(split(kind)[0])
        schema = self._adapter.json_schema()
        self._is_list_of_files = FormField.of(schema).is_file and schema.get("type") == "array"
        self.media_type = body_media_type(schema)
        self.declare(content_type(annotation))

    def render(self, value: Any) -> Rendered:
        """Return the value as an answer: a path or an image as a file, whatever the annotation says."""
        if not isinstance(value, PLAIN):
            file = file_body(value, self.media_type)
            if file is not None:
                return Rendered(200, *file)
        if self._is_list_of_files:
            return Rendered(500, [], NO_MULTIPART)
        return Rendered(200, self.headers, self.encode(value))

    def is_array_as_json(self, array: Any) -> bool:
        """Tell whether the answer is the plain JSON of the array, and of a type that the front writes, too."""
        is_ours = self._array_class is not None and isinstance(array, self._array_class)
        return is_ours and self.media_type == "application/json" and array.dtype.str in JSON_ARRAYS

    def encode(self, value: Any) -> bytes:
        """Return the body; the value must fit the annotation."""
        if self._array_class is not None and isinstance(value, self._array_class):
            return _spaced_json(value.tolist())
        value = self._validate(value)
        if not isinstance(value, NEVER_TEXT):
            rendered = self._to_python(value)
            if isinstance(rendered, str):
                return str.encode(rendered, "utf-8")
            if isinstance(rendered, bytes):
                return rendered
        plain = self._to_python(value, mode="json", warnings=False, fallback=_library_value)
        return _spaced_json(plain)

    def decode(self, body: bytes) -> Any:
        """Return the value that a JSON body is, for those who call the API elsewhere."""
        return self._adapter.validate_json(body)

    def schema(self) -> dict[str, Any]:
        """Return the output's part of ``/schema.json``."""
        return flatten(self.openapi())

    def openapi(self, **options: Any) -> dict[str, Any]:
        """Return the JSON schema with the given references and mode."""
        return self._adapter.json_schema(**options)


def output_of(annotation: Any) -> ModelOutput | ValueOutput:
    """Return the output that a return annotation, or the type of a stream's items, describes."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return ModelOutput(annotation)
    return ValueOutput(annotation)


def _array_class(source: Any) -> type | None:
    """Return numpy's array class when the output is an array and nothing else."""
    numpy = sys.modules.get("numpy")
    origin = getattr(source, "__origin__", source)
    return numpy.ndarray if numpy is not None and origin is numpy.ndarray else None


def _spaced_json(value: Any) -> bytes:
    """Return JSON in the style of ``json.dumps``, with NaN and the infinities as null."""
    try:
        return _encode_json(value).encode("ascii")
    except ValueError:
        return _encode_json(_without_nan(value)).encode("ascii")


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None  # NaN and the infinities differ from themselves
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return value


def _library_value(value: Any) -> Any:
    """Return arrays and array scalars inside untyped values as plain ones."""
    tolist = getattr(value, "tolist", None)
    if tolist is None:
        raise TypeError(f"cannot turn a value of type `{type(value).__name__}` into JSON")
    return tolist()
