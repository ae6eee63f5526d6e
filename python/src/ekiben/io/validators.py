"""``bentoml.validators``: what an annotation may add to a type, ``Annotated[np.ndarray, Shape((2, 2))]``."""

from __future__ import annotations

from dataclasses import dataclass

from .dataframe import DataframeSchema
from .files import FileSchema
from .images import PILImageEncoder
from .tensor import TensorSchema

__all__ = ["ContentType", "DType", "DataframeSchema", "FileSchema", "PILImageEncoder", "Shape", "TensorSchema"]


@dataclass(frozen=True)
class ContentType:
    """The media type of a value on the wire."""

    content_type: str


@dataclass(frozen=True)
class Shape:
    """The shape that an array is brought into."""

    dimensions: tuple[int, ...]


@dataclass(frozen=True)
class DType:
    """The element type that an array is made with."""

    dtype: str
