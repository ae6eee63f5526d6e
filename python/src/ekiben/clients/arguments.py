"""From the arguments of a call to the request's content type and body."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .endpoint import Endpoint
from .transport.messages import Body
from .uploads import SentFile, file_of, form_of, is_file
from .values import to_json

JSON = "application/json"
TEXT = "text/plain"

Encoded = tuple[str, Body]


def encode(endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Encoded:
    """Return content type and body of a call; wrong arguments are a ``TypeError``."""
    if endpoint.method is not None:
        args, kwargs = _checked(endpoint.method, args, kwargs)
    if endpoint.input.get("root_input"):
        if len(args) > 1 or kwargs:
            raise TypeError(f"Expected one positional argument for root input of endpoint {endpoint.name}")
        if not args:
            return JSON, Body()
        if "properties" not in endpoint.input or isinstance(args[0], (str, bytes)):
            return _root(endpoint.input, args[0])
        return _members(endpoint, _mapping(args[0]))
    return _members(endpoint, _named(endpoint, args, kwargs))


def _checked(method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments by the names that the API has for them, validated: a wrong one is an error of the caller."""
    from ..apis.arguments import checked, named

    args, kwargs = checked(method, args, kwargs)
    return (args, kwargs) if method.input_spec.is_root else ((), named(method, args, kwargs))


def _named(endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments by name."""
    names = list(endpoint.input.get("properties", {}))
    if len(args) > len(names):
        raise TypeError(f"Endpoint {endpoint.name} takes {len(names)} arguments, {len(args)} were given")
    for name in names[: len(args)]:
        if name in kwargs:
            raise TypeError(f"Duplicate argument {name}")
    named = {**dict(zip(names, args)), **kwargs}
    unknown = [name for name in named if name not in names]
    if unknown:
        raise TypeError(f"Arguments not found in endpoint {endpoint.name}: {_listed(unknown)}")
    missing = [name for name in endpoint.input.get("required", []) if name not in named]
    if missing:
        raise TypeError(f"Missing required arguments in endpoint {endpoint.name}: {_listed(missing)}")
    return named


def _members(endpoint: Endpoint, named: dict[str, Any]) -> Encoded:
    files = {name for name, schema in endpoint.input.get("properties", {}).items() if is_file(schema)}
    if files:
        return form_of(named, files)
    return JSON, Body(to_json(named, endpoint.input))


def _root(schema: Mapping[str, Any], value: Any) -> Encoded:
    """Return an input that is the whole body."""
    if is_file(schema):
        if schema.get("type") == "array":
            return form_of({"files": value}, {"files"})
        sent = file_of(value)
        if isinstance(sent, SentFile):
            return sent.media_type or "application/octet-stream", Body(sent.content)
        return TEXT, Body(sent.encode("utf-8"))
    if isinstance(value, str) and schema.get("type") in ("string", None):
        return TEXT, Body(value.encode("utf-8"))
    if isinstance(value, (bytes, bytearray)):
        return TEXT, Body(bytes(value))
    return JSON, Body(to_json(value, schema))


def _mapping(value: Any) -> dict[str, Any]:
    """Return the members of a model, as the argument of a call."""
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    members = getattr(type(value), "model_fields", None)
    if members is None:
        raise TypeError(f"a value of type `{type(value).__name__}` has no members: give a dict or a pydantic model")
    return {name: getattr(value, name) for name in members}


def _listed(names: list[str]) -> str:
    return "{" + ", ".join(repr(name) for name in names) + "}"
