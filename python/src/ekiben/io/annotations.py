"""From the types that users write to types that pydantic can read: arrays, frames, files and images get their schemas.

To support another library's type: one entry in ``CONVERTERS``.
"""

from __future__ import annotations

import pathlib
import sys
import typing as t
from collections.abc import Sequence
from typing import Annotated, Any, Callable

from .dataframe import DataframeSchema, SeriesSchema
from .files import FileSchema
from .images import PILImageEncoder
from .tensor import TensorSchema
from .validators import ContentType, DType, Shape

UNION_TYPES = {t.Union, getattr(sys.modules["types"], "UnionType", t.Union)}
# Types whose arguments are looked into; others (Literal, Callable, user generics) stay as they are.
CONTAINERS = {list, dict, tuple, set, frozenset, *UNION_TYPES}


def annotate(annotation: Any) -> Any:
    """Return ``annotation`` with the schemas of arrays, frames and files put in; itself when there are none."""
    source, metadata = split(annotation)
    origin, arguments = t.get_origin(source), t.get_args(source)
    if origin in CONTAINERS:
        changed = tuple(argument if argument is Ellipsis else annotate(argument) for argument in arguments)
        if all(new is old for new, old in zip(changed, arguments)):
            return annotation
        container = t.Union if origin in UNION_TYPES else origin
        return join(container[changed], metadata)
    for handles, convert in CONVERTERS:
        if handles(origin or source):
            return join(*convert(source, metadata))
    return annotation


def annotate_field(field: Any) -> bool:
    """Do the same to a pydantic field, in place; tell whether it changed."""
    annotation = join(field.annotation, list(field.metadata))
    changed = annotate(annotation)
    if changed is annotation:
        return False
    field.annotation, field.metadata = split(changed)
    return True


def split(annotation: Any) -> tuple[Any, list[Any]]:
    """Return the type and the metadata of an annotation."""
    if t.get_origin(annotation) is Annotated:
        source, *metadata = t.get_args(annotation)
        return source, metadata
    return annotation, []


def join(source: Any, metadata: Sequence[Any]) -> Any:
    """Return ``Annotated[source, *metadata]``, or the type alone when there is no metadata."""
    return Annotated[(source, *metadata)] if metadata else source


def plain_array(annotation: Any) -> dict[str, Any] | None:
    """Return type and shape of an annotation that says no more than that: an array of numbers; None for any other."""
    source, metadata = split(annotation)
    numpy = sys.modules.get("numpy")
    if numpy is None or (t.get_origin(source) or source) is not numpy.ndarray:
        return None
    if len(metadata) != 1 or not isinstance(metadata[0], TensorSchema) or metadata[0].format != "numpy-array":
        return None
    schema = metadata[0]
    dtype = None if schema.dtype is None else numpy.dtype(schema.dtype).str
    return {"dtype": dtype, "shape": None if schema.shape is None else list(schema.shape)}


def content_type(annotation: Any) -> str | None:
    """Return the media type that an annotation declares."""
    return next((item.content_type for item in split(annotation)[1] if isinstance(item, ContentType)), None)


def _is_from(module: str, *names: str) -> Callable[[Any], bool]:
    """Recognise a class of a library, and its subclasses, without importing the library."""

    def handles(candidate: Any) -> bool:
        if not isinstance(candidate, type):
            return False
        return any(
            base.__name__ in names and (base.__module__ == module or base.__module__.startswith(f"{module}."))
            for base in candidate.__mro__
        )

    return handles


def _array(source: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    return _tensor("numpy-array", source, metadata, _declared_dtype(source))


def _torch_tensor(source: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    return _tensor("torch-tensor", source, metadata)


def _tf_tensor(source: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    return _tensor("tf-tensor", source, metadata)


def _tensor(form: str, source: Any, metadata: list[Any], dtype: str | None = None) -> tuple[Any, list[Any]]:
    shape = None
    rest = []
    for item in metadata:
        if isinstance(item, Shape):
            shape = tuple(item.dimensions)
        elif isinstance(item, DType):
            if dtype not in (None, item.dtype):
                raise ValueError(f"Conflicting dtype annotations: {dtype} and {item.dtype}")
            dtype = item.dtype
        else:
            rest.append(item)
    schema = TensorSchema(form, dtype, shape)
    schema.check_dtype()  # an unknown name is an error of the service, not of a request
    return source, [schema, *rest]


def _declared_dtype(source: Any) -> str | None:
    """Return the dtype of ``NDArray[np.float32]``, that is ``np.ndarray[Any, np.dtype[np.float32]]``."""
    import numpy as np

    arguments = t.get_args(source)
    scalars = t.get_args(arguments[1]) if len(arguments) > 1 else ()
    try:
        return np.dtype(scalars[0]).name if scalars else None
    except TypeError:  # `Any`, or a type variable
        return None


def _frame(source: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    declared = any(isinstance(item, DataframeSchema) for item in metadata)
    return source, [*([] if declared else [DataframeSchema()]), *metadata]


def _series(source: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    return source, [SeriesSchema(), *metadata]


def _path(source: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    declared = next((item.content_type for item in metadata if isinstance(item, ContentType)), None)
    rest = [item for item in metadata if not isinstance(item, ContentType)]
    return source, [FileSchema(content_type=declared), *rest]


def _image(source: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    return source, [PILImageEncoder(), *metadata]


CONVERTERS: list[tuple[Callable[[Any], bool], Callable[[Any, list[Any]], tuple[Any, list[Any]]]]] = [
    (_is_from("numpy", "ndarray"), _array),
    (_is_from("pandas", "DataFrame"), _frame),
    (_is_from("pandas", "Series"), _series),
    (lambda candidate: isinstance(candidate, type) and issubclass(candidate, pathlib.PurePath), _path),
    (_is_from("PIL", "Image"), _image),
    (_is_from("torch", "Tensor"), _torch_tensor),
    (_is_from("tensorflow", "Tensor"), _tf_tensor),
]
