"""Form bodies: ``application/x-www-form-urlencoded`` and ``multipart/form-data``.

Each field is read by its own schema: text stays text where the parameter is text (a JSON string is the text in it), a
file where it is a file, and everything else is read as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from ..exceptions import BadInput
from ..http_values import Headers
from .downloads import download, url_in
from .uploads import Buffer, Upload

Body = Union[bytes, bytearray]

FORM_DATA = "multipart/form-data"
# Browsers and libraries need a few hundred bytes.
MAX_PART_HEAD = 16 * 1024


@dataclass(frozen=True)
class FormPart:
    """A part of a form, as it was sent."""

    name: str
    content: Buffer
    headers: Headers = field(default_factory=Headers)
    # The name of the file that the part is; None for a plain field.
    filename: str | None = None

    @property
    def media_type(self) -> str | None:
        """The media type that the part says it has."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower() or None


@dataclass(frozen=True)
class FormField:
    """How the parts of a field become a value."""

    is_text: bool
    is_list: bool
    is_file: bool = False

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> FormField:
        """Read the JSON schema of a parameter."""
        alternatives = schema.get("anyOf") or [schema]
        types = {alternative.get("type") for alternative in alternatives} - {"null"}
        items = [alternative.get("items") or {} for alternative in alternatives if alternative.get("type") == "array"]
        is_file = types == {"file"} or (types == {"array"} and all(item.get("type") == "file" for item in items))
        return cls(is_text=types == {"string"}, is_list="array" in types, is_file=is_file)

    def value(self, parts: list[FormPart]) -> Any:
        """Return the value that the parts of one name give."""
        if self.is_file:
            files = [_file(part) for part in (parts if self.is_list else parts[:1])]
            return files if self.is_list else files[0]
        if self.is_list and len(parts) > 1:
            return [_json_or_text(part.content) for part in parts]
        return _quoted_or_text(parts[-1].content) if self.is_text else _json_or_text(parts[-1].content)


# What a field that is no parameter is read as: it is ignored later, or collected by `**kwargs`.
ANY_FIELD = FormField(is_text=False, is_list=False)


def parse_form(body: Body, content_type: str, fields: Mapping[str, FormField]) -> dict[str, Any]:
    """Return the values of a form by name."""
    parts: dict[str, list[FormPart]] = {}
    found = form_parts(body, content_type) if is_multipart(content_type) else _urlencoded(bytes(body))
    for part in found:
        parts.setdefault(part.name, []).append(part)
    return {name: fields.get(name, ANY_FIELD).value(values) for name, values in parts.items()}


def is_multipart(content_type: str) -> bool:
    """Tell whether a content type is that of multipart forms."""
    return content_type.partition(";")[0].strip().lower() == FORM_DATA


def form_parts(body: Body, content_type: str) -> Iterator[FormPart]:
    """Yield the parts of a multipart form, which are views of the body: they may be large.

    The content of a part may be anything but the delimiter, so this cuts at delimiters.
    """
    boundary = _boundary(content_type)
    opening, delimiter = b"--" + boundary, b"\r\n--" + boundary
    view = memoryview(body)
    start = len(opening) if body.startswith(opening) else body.find(delimiter) + len(delimiter)
    if start < len(delimiter) and not body.startswith(opening):
        raise BadInput("multipart body has no part: its boundary does not occur in it")
    while not body.startswith(b"--", start):
        end = body.find(delimiter, start)
        if end < 0:
            raise BadInput("multipart body is cut off: its closing boundary is missing")
        head_end = body.find(b"\r\n\r\n", start, end)
        if head_end < 0:
            raise BadInput("multipart body has a part without a name: no empty line ends its headers")
        if head_end - start > MAX_PART_HEAD:
            raise BadInput(f"multipart body has a part with headers of more than {MAX_PART_HEAD} bytes")
        yield _part(bytes(view[start:head_end]), view[head_end + 4 : end])
        start = end + len(delimiter)


def _urlencoded(body: bytes) -> Iterator[FormPart]:
    from urllib.parse import unquote_to_bytes

    for pair in body.split(b"&"):
        if pair:
            name, _, value = pair.replace(b"+", b" ").partition(b"=")
            yield FormPart(unquote_to_bytes(name).decode("utf-8", "replace"), unquote_to_bytes(value))


def _part(head: bytes, content: Buffer) -> FormPart:
    lines = (line.partition(":") for line in head.decode("utf-8", "replace").split("\r\n"))
    headers = Headers((key.strip(), value.strip()) for key, colon, value in lines if colon)
    parameters = header_parameters(headers.get("content-disposition", ""))
    if "name" not in parameters:
        raise BadInput("multipart body has a part without a name")
    return FormPart(parameters["name"], content, headers, sent_filename(parameters))


def sent_filename(disposition: Mapping[str, str]) -> str | None:
    """Return the name of a part that is a file; RFC 5987 writes one with its character set."""
    from urllib.parse import unquote

    extended = disposition.get("filename*")
    if extended is None:
        return disposition.get("filename")
    charset, _, rest = extended.partition("'")
    try:
        return unquote(rest.partition("'")[2], charset or "utf-8", "replace")
    except (LookupError, ValueError):  # no character set, or none that reads this
        return disposition.get("filename", "")


def _boundary(content_type: str) -> bytes:
    boundary = header_parameters(content_type).get("boundary", "")
    if not boundary:
        raise BadInput("multipart content type has no boundary")
    return boundary.encode("latin-1", "replace")


def header_parameters(header: str) -> dict[str, str]:
    """Return the parameters of a header value; quoted ones may hold semicolons and escaped quotes."""
    parameters: dict[str, str] = {}
    # Positions, not what is left of the text: copies of it would make long headers take for ever.
    at = _after(header, ";", 0)
    while at < len(header):
        end = _after(header, ";", at)
        equals = header.find("=", at, end)
        if equals < 0:
            at = end
            continue
        key, start = header[at:equals].strip().lower(), equals + 1
        while start < len(header) and header[start] in " \t":
            start += 1
        if header.startswith('"', start):
            close = _closing_quote(header, start + 1)
            value = header[start + 1 : close].replace('\\"', '"').replace("\\\\", "\\")
            end = _after(header, ";", close + 1)
        else:
            value = header[start:end].removesuffix(";")
        parameters[key] = value.strip()
        at = end
    return parameters


def _after(text: str, mark: str, start: int) -> int:
    """Return the position after the next mark, or the end."""
    found = text.find(mark, start)
    return len(text) if found < 0 else found + 1


def _closing_quote(text: str, start: int) -> int:
    while start < len(text) and text[start] != '"':
        start += 2 if text[start] == "\\" else 1
    return start


def _file(part: FormPart) -> Any:
    """Return the file of a part, or that of the URL that it is."""
    if part.filename is not None:
        return Upload(part.content, part.filename, part.media_type)
    url = url_in(part.content)
    return _text(part.content) if url is None else download(url)


def _text(content: Buffer) -> Any:
    raw = bytes(content)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw  # a `bytes` parameter takes it; a `str` one reports that it is not text


def _quoted_or_text(content: Buffer) -> Any:
    """Return text; clients of services write it as JSON, and other clients as it is."""
    text = _text(content)
    if isinstance(text, str) and len(text) > 1 and text[0] == text[-1] == '"':
        unquoted = _json_or_text(content)
        return unquoted if isinstance(unquoted, str) else text
    return text


def _json_or_text(content: Buffer) -> Any:
    try:
        return json.loads(bytes(content))
    except (ValueError, RecursionError):  # no JSON, or deeper than any value that is meant
        return _text(content)
