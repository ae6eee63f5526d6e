"""Form bodies: ``application/x-www-form-urlencoded`` and ``multipart/form-data``.

Each field is read by its own schema: text stays text where the parameter is text, and is read as JSON elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union

from ..exceptions import BadInput
from ..http_values import Headers

Body = Union[bytes, bytearray]

FORM_DATA = "multipart/form-data"


@dataclass(frozen=True)
class FormPart:
    """A part of a form, as it was sent."""

    name: str
    content: bytes
    headers: Headers
    # The name of the file that the part is; None for a plain field.
    filename: str | None = None


@dataclass(frozen=True)
class FormField:
    """How the text of a field becomes a value."""

    is_text: bool
    is_list: bool

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> FormField:
        """Read the JSON schema of a parameter."""
        alternatives = schema.get("anyOf") or [schema]
        types = {alternative.get("type") for alternative in alternatives} - {"null"}
        return cls(is_text=types == {"string"}, is_list="array" in types)

    def value(self, parts: list[bytes]) -> Any:
        """Return the value that the parts of one name give."""
        if self.is_list and len(parts) > 1:
            return [_json_or_text(part) for part in parts]
        return _text(parts[-1]) if self.is_text else _json_or_text(parts[-1])


# What a field that is no parameter is read as: it is ignored later, or collected by `**kwargs`.
ANY_FIELD = FormField(is_text=False, is_list=False)


def parse_form(body: Body, content_type: str, fields: Mapping[str, FormField]) -> dict[str, Any]:
    """Return the values of a form by name."""
    if content_type.partition(";")[0].strip().lower() == FORM_DATA:
        pairs = ((part.name, part.content) for part in form_parts(body, content_type))
    else:
        pairs = _urlencoded(bytes(body))
    parts: dict[str, list[bytes]] = {}
    for name, value in pairs:
        parts.setdefault(name, []).append(value)
    return {name: fields.get(name, ANY_FIELD).value(values) for name, values in parts.items()}


def form_parts(body: Body, content_type: str) -> Iterator[FormPart]:
    """Yield the parts of a multipart form; content may be anything but the delimiter, so this cuts at delimiters."""
    delimiter = b"\r\n--" + _boundary(content_type)
    sections = (b"\r\n" + bytes(body)).split(delimiter)
    if len(sections) < 2:
        raise BadInput("multipart body has no part: its boundary does not occur in it")
    for section in sections[1:]:
        if section.startswith(b"--"):
            return
        yield _part(section)
    raise BadInput("multipart body is cut off: its closing boundary is missing")


def _urlencoded(body: bytes) -> Iterator[tuple[str, bytes]]:
    from urllib.parse import unquote_to_bytes

    for pair in body.split(b"&"):
        if pair:
            name, _, value = pair.replace(b"+", b" ").partition(b"=")
            yield unquote_to_bytes(name).decode("utf-8", "replace"), unquote_to_bytes(value)


def _part(section: bytes) -> FormPart:
    head, blank_line, content = section.partition(b"\r\n\r\n")
    lines = (line.partition(":") for line in head.decode("utf-8", "replace").split("\r\n"))
    headers = Headers((key.strip(), value.strip()) for key, colon, value in lines if colon)
    parameters = header_parameters(headers.get("content-disposition", ""))
    if not blank_line or "name" not in parameters:
        raise BadInput("multipart body has a part without a name")
    return FormPart(parameters["name"], content, headers, parameters.get("filename"))


def _boundary(content_type: str) -> bytes:
    boundary = header_parameters(content_type).get("boundary", "")
    if not boundary:
        raise BadInput("multipart content type has no boundary")
    return boundary.encode("latin-1", "replace")


def header_parameters(header: str) -> dict[str, str]:
    """Return the parameters of a header value; quoted ones may hold semicolons and escaped quotes."""
    parameters: dict[str, str] = {}
    rest = header.partition(";")[2]
    while rest:
        key, _, rest = rest.partition("=")
        rest = rest.lstrip()
        if rest.startswith('"'):
            end = 1
            while end < len(rest) and rest[end] != '"':
                end += 2 if rest[end] == "\\" else 1
            value = rest[1:end].replace('\\"', '"').replace("\\\\", "\\")
            rest = rest[end + 1 :].partition(";")[2]
        else:
            value, _, rest = rest.partition(";")
        parameters[key.strip().lower()] = value.strip()
    return parameters


def _text(part: bytes) -> Any:
    try:
        return part.decode("utf-8")
    except UnicodeDecodeError:
        return part  # a `bytes` parameter takes it; a `str` one reports that it is not text


def _json_or_text(part: bytes) -> Any:
    try:
        return json.loads(part)
    except ValueError:
        return _text(part)
