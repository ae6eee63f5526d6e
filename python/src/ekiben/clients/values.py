"""Values of Python as JSON, and back: arrays, frames, models and whatever pydantic knows."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from ..io.dataframe import ORIENTS, DataframeSchema
from ..io.tensor import LIBRARIES, TensorSchema


def to_json(value: Any, schema: Mapping[str, Any]) -> bytes:
    """Return a value as JSON."""
    return json.dumps(_oriented(value, schema), default=plain).encode("utf-8")


def plain(value: Any) -> Any:
    """Return what JSON has for a value that it does not know."""
    if _is_a(value, "pandas", "DataFrame"):
        return value.to_dict(orient=ORIENTS["records"])
    if _is_a(value, "tensorflow", "Tensor"):
        return value.numpy().tolist()
    if _is_a(value, "torch", "Tensor"):
        return value.detach().cpu().tolist()
    if hasattr(value, "tolist"):
        return value.tolist()
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, fallback=_fallback)


def from_json(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return the value that parsed JSON stands for; arrays need the library that they come from."""
    kind = schema.get("type")
    if value is None:
        return None
    if kind == "tensor" and schema.get("format") in LIBRARIES:
        shape = schema.get("shape")
        return TensorSchema(schema["format"], schema.get("dtype"), None if shape is None else tuple(shape)).validate(
            value
        )
    if kind == "dataframe":
        columns = schema.get("columns")
        return DataframeSchema(schema.get("orient", "records"), tuple(columns) if columns else None).validate(value)
    if kind == "array" and isinstance(schema.get("items"), Mapping) and isinstance(value, list):
        return [from_json(item, schema["items"]) for item in value]
    members = schema.get("properties")
    if members and isinstance(value, Mapping):
        return {key: from_json(item, members.get(key, {})) for key, item in value.items()}
    return value


def _oriented(value: Any, schema: Mapping[str, Any]) -> Any:
    """Turn frames into what their schema says; other values stay."""
    if schema.get("type") == "dataframe" and _is_a(value, "pandas", "DataFrame"):
        return value.to_dict(orient=ORIENTS.get(schema.get("orient", "records"), "records"))
    if isinstance(schema.get("items"), Mapping) and isinstance(value, (list, tuple)):
        return [_oriented(item, schema["items"]) for item in value] if _has_frames(schema) else value
    members = schema.get("properties")
    if members and isinstance(value, Mapping) and _has_frames(schema):
        return {key: _oriented(item, members.get(key, {})) for key, item in value.items()}
    return value


def _has_frames(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        return schema.get("type") == "dataframe" or any(_has_frames(member) for member in schema.values())
    return isinstance(schema, list) and any(_has_frames(member) for member in schema)


def _fallback(value: Any) -> Any:
    if any(hasattr(value, name) for name in ("tolist", "to_dict")) or _is_a(value, "tensorflow", "Tensor"):
        return plain(value)
    raise TypeError(f"a value of type `{type(value).__name__}` cannot be sent as JSON")


def _is_a(value: Any, module: str, name: str) -> bool:
    """Recognise a class of a library, which nobody can have made values of without importing it."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(value, kind)
