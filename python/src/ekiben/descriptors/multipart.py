"""``Multipart``: several values in one form, each with a descriptor of its own."""

from __future__ import annotations

import uuid
from typing import Any

from ..exceptions import BadInput, BentoMLException, InvalidArgument
from ..http_values import Headers
from ..io.forms import FORM_DATA, FormPart, form_parts, header_parameters
from .base import Content, Encoded, IODescriptor


class Multipart(IODescriptor):
    """A form. Its parts are the keyword arguments of the API; it returns a dictionary with the same keys."""

    _mime_type = FORM_DATA

    def __init__(self, **inputs: IODescriptor):
        if any(isinstance(descriptor, Multipart) for descriptor in inputs.values()):
            raise InvalidArgument("Multipart IO can not contain nested Multipart IO descriptor")
        self._inputs = inputs

    @property
    def parts(self) -> dict[str, IODescriptor]:
        """The descriptors by the names of their parts."""
        return self._inputs

    @classmethod
    def from_sample(cls, sample: Any, **options: Any) -> Any:
        """Refuse: a part's descriptor can be made from a sample, not the form."""
        raise NotImplementedError("'from_sample' is not supported for Multipart.")

    def _arguments(self) -> dict[str, Any]:
        return {name: descriptor.to_spec() for name, descriptor in self._inputs.items()}

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Multipart:
        """Make the descriptor that ``to_spec`` has described."""
        from . import from_spec

        if "args" not in spec:
            raise InvalidArgument(f"Missing args key in Multipart spec: {spec}")
        return cls(**{name: from_spec(part) for name, part in spec["args"].items()})

    def decode(self, content: Content) -> dict[str, Any]:
        """Return the argument of every part: by its name, or by its place when the names do not match."""
        if content.media_type != FORM_DATA:
            raise BentoMLException(
                f"Multipart only accepts `multipart/form-data` as Content-Type header, got "
                f"{content.media_type or 'none'} instead."
            )
        found: dict[str, FormPart] = {}
        for part in form_parts(content.body, content.content_type or ""):
            found[part.name] = part
        if any(name not in found for name in self._inputs):
            if len(found) < len(self._inputs):
                missing = ", ".join(f"`{name}`" for name in self._inputs if name not in found)
                raise BadInput(f"the form has no part for {missing}")
            found = dict(zip(self._inputs, found.values()))
        return {
            name: descriptor.decode(_part_content(content, found[name])) for name, descriptor in self._inputs.items()
        }

    def encode(self, value: Any) -> Encoded:
        """Return a form with the values of a dictionary."""
        boundary = uuid.uuid4().hex
        pieces = []
        for name, descriptor in self._inputs.items():
            encoded = descriptor.encode(value[name])
            pieces += [f"--{boundary}\r\n".encode("ascii"), _part_head(name, encoded), encoded.body, b"\r\n"]
        pieces.append(f"--{boundary}--\r\n".encode("ascii"))
        return Encoded(b"".join(pieces), [("content-type", f"{FORM_DATA}; boundary={boundary}")])

    def openapi_schema(self) -> dict[str, Any]:
        """Return the schema of bodies in /docs.json."""
        properties = {name: descriptor.openapi_schema() for name, descriptor in self._inputs.items()}
        return {"type": "object", "properties": properties}

    def openapi_components(self) -> dict[str, Any]:
        """Return the schemas that the parts refer to."""
        return {
            name: schema
            for descriptor in self._inputs.values()
            for name, schema in descriptor.openapi_components().items()
        }

    def openapi_example(self) -> dict[str, Any]:
        """Return the samples of the parts."""
        return {name: descriptor.openapi_example() for name, descriptor in self._inputs.items()}

    def __repr__(self) -> str:
        return f"Multipart({','.join(f'{name}={descriptor!r}' for name, descriptor in self._inputs.items())})"


def _part_content(request: Content, part: FormPart) -> Content:
    """Return a part as if it had been a request: its own headers, and those of the request that it has not."""
    own = part.headers.multi_items()
    names = {"content-type", "content-length", *(name for name, _ in own)}
    inherited = [(name, value) for name, value in request.headers.multi_items() if name not in names]
    return Content(bytes(part.content), Headers([*own, *inherited]), part.filename)


def _part_head(name: str, encoded: Encoded) -> bytes:
    headers = dict(encoded.headers)
    disposition = f'form-data; name="{name}"'
    filename = header_parameters(headers.pop("content-disposition", "")).get("filename")
    if filename is not None:
        disposition += f'; filename="{filename}"'
    lines = [f"Content-Disposition: {disposition}", f"content-length: {len(encoded.body)}"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
