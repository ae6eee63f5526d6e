"""``IODescriptor``: how a body becomes the argument of an API, and what it returns a body."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Union

from ..exceptions import InvalidArgument
from ..http_values import Headers

Body = Union[bytes, bytearray]

SUCCESS = "Successful Response"
# A reference to a schema among the components of /docs.json.
REFERENCE = "#/components/schemas/{model}"


@dataclass(frozen=True)
class Content:
    """A body and its headers: of a request, or of one part of a form."""

    body: Body
    headers: Headers
    # The name that a form gives to a file.
    filename: str | None = None

    @property
    def content_type(self) -> str | None:
        """The header ``content-type``, as it was sent."""
        return self.headers.get("content-type")

    @property
    def media_type(self) -> str:
        """The content type without parameters, in lower case; empty when there is none."""
        return (self.content_type or "").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class Encoded:
    """The body that a returned value became, and its headers."""

    body: bytes
    headers: list[tuple[str, str]]


class IODescriptor(ABC):
    """What an API takes or returns. Not meant to be extended outside of this package."""

    HTTP_METHODS = ("POST",)
    # The id that specifications and /docs.json name the descriptor by.
    descriptor_id: ClassVar[str]
    # The class that a parameter's annotation is compared with: its module and name. None takes every annotation.
    value_class: ClassVar[tuple[str, str] | None] = None

    _mime_type: str = "application/json"

    def __init_subclass__(cls) -> None:
        cls.descriptor_id = f"bentoml.io.{cls.__name__}"
        cls.sample = None

    # The value that ``from_sample`` was given, for the examples in /docs.json.
    sample: Any

    @property
    def mime_type(self) -> str:
        """The media type of bodies."""
        return self._mime_type

    @property
    def content_type(self) -> str:
        """The ``content-type`` header of responses; text is UTF-8."""
        return f"{self.mime_type}; charset=utf-8" if self.mime_type.startswith("text/") else self.mime_type

    @classmethod
    def from_sample(cls, sample: Any, **options: Any) -> Any:
        """Make a descriptor of values like ``sample``, with the arguments of the class."""
        descriptor = cls(**options)
        descriptor.sample = descriptor._take_sample(sample)
        return descriptor

    def _take_sample(self, sample: Any) -> Any:
        """Learn from a sample; return the value that stands in the documents."""
        return sample

    def to_spec(self) -> dict[str, Any]:
        """Return what ``from_spec`` makes an equal descriptor of."""
        return {"id": self.descriptor_id, "args": self._arguments()}

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Any:
        """Make the descriptor that ``to_spec`` has described."""
        if "args" not in spec:
            raise InvalidArgument(f"Missing args key in {cls.__name__} spec: {spec}")
        return cls(**spec["args"])

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments that an equal descriptor is made with."""
        return {}

    @abstractmethod
    def decode(self, content: Content) -> Any:
        """Return the argument that a body gives."""

    @abstractmethod
    def encode(self, value: Any) -> Encoded:
        """Return the body for a returned value."""

    def encode_item(self, item: Any) -> bytes:
        """Return one piece of a stream: text and bytes as they are, other values as ``encode`` has them."""
        if isinstance(item, str):
            return item.encode("utf-8")
        return bytes(item) if isinstance(item, (bytes, bytearray, memoryview)) else self.encode(item).body

    def openapi_schema(self) -> dict[str, Any]:
        """Return the schema of bodies in /docs.json."""
        return {"type": "object"}

    def openapi_components(self) -> dict[str, Any]:
        """Return the schemas that ``openapi_schema`` refers to, by name."""
        return {}

    def openapi_example(self) -> Any:
        """Return the sample as it stands in /docs.json; None when there is none."""
        return self.sample

    def openapi_request_body(self) -> dict[str, Any]:
        """Return what /docs.json says of requests."""
        return {
            "content": self._openapi_content(self._request_types()),
            "required": True,
            "x-bentoml-io-descriptor": self.to_spec(),
        }

    def openapi_responses(self) -> dict[str, Any]:
        """Return what /docs.json says of responses."""
        return {
            "description": SUCCESS,
            "content": self._openapi_content([self.mime_type]),
            "x-bentoml-io-descriptor": self.to_spec(),
        }

    def _request_types(self) -> list[str]:
        """Return the media types of requests."""
        return [self.mime_type]

    def _openapi_content(self, types: list[str]) -> dict[str, Any]:
        media: dict[str, Any] = {"schema": self.openapi_schema()}
        example = self.openapi_example()
        if example is not None:
            media["example"] = example
        return dict.fromkeys(types, media)

    def _encoded(self, body: bytes) -> Encoded:
        return Encoded(body, [("content-type", self.content_type)])

    def __repr__(self) -> str:
        return type(self).__qualname__
