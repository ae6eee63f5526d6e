"""JSON schemas as upstream publishes them: references put in place, the first of several alternatives taken."""

from __future__ import annotations

import json
import math
from typing import Any

# Media types of files whose format says only what kind they are.
KIND_MEDIA_TYPES = {"image": "image/*", "audio": "audio/*", "video": "video/*"}


def body_media_type(schema: dict[str, Any]) -> str:
    """Return the media type of a body that is one value, by the value's schema."""
    kind = schema.get("type")
    if kind == "string":
        return "text/plain"
    if kind != "file":
        return "application/json"
    return schema.get("content_type") or KIND_MEDIA_TYPES.get(schema.get("format", ""), "application/octet-stream")


def flatten(schema: dict[str, Any]) -> dict[str, Any]:
    """Put references in place, and keep the first alternative of ``anyOf`` and ``allOf``.

    A schema without properties is left as it is, as upstream does. A type that contains itself cannot be put in
    place: its reference stays, together with the definitions.
    """
    if not schema.get("properties"):
        return schema
    definitions = schema.pop("$defs", {})
    flat = _flatten(schema, definitions, ())
    if definitions and _has_references(flat):
        flat["$defs"] = definitions
    return flat


def flatten_shallow(schema: dict[str, Any]) -> dict[str, Any]:
    """Keep the first alternative at the top and of each member; leave references."""
    flat = _first_alternative(schema)
    if flat.get("type") == "object" and "properties" in flat:
        members = {name: _first_alternative(member) for name, member in flat["properties"].items()}
        return {**flat, "properties": members}
    if flat.get("type") == "array" and "items" in flat:
        return {**flat, "items": _first_alternative(flat["items"])}
    return flat


def json_document(document: Any) -> Any:
    """Return ``document`` made of JSON values alone: tuples as lists, other objects as text, no NaN."""
    return _finite(json.loads(json.dumps(document, default=str)))


def _flatten(schema: dict[str, Any], definitions: dict[str, Any], inside: tuple[str, ...]) -> dict[str, Any]:
    schema = _first_alternative(schema)
    reference = schema.get("$ref", "").rpartition("/")[2]
    if reference:
        if reference in inside:
            return schema
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {**rest, **_flatten(definitions[reference], definitions, (*inside, reference))}
    if schema.get("type") == "object" and "properties" in schema:
        members = {name: _flatten(member, definitions, inside) for name, member in schema["properties"].items()}
        return {**schema, "properties": members}
    if schema.get("type") == "array" and "items" in schema:
        return {**schema, "items": _flatten(schema["items"], definitions, inside)}
    return schema


def _first_alternative(schema: dict[str, Any]) -> dict[str, Any]:
    for key in ("allOf", "anyOf"):
        if key in schema:
            rest = {name: value for name, value in schema.items() if name != key}
            schema = {**rest, **schema[key][0]}
    return schema


def _has_references(schema: Any) -> bool:
    if isinstance(schema, dict):
        return "$ref" in schema or any(_has_references(value) for value in schema.values())
    return isinstance(schema, list) and any(_has_references(item) for item in schema)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
