"""Inputs: what an API takes, and how a request's body becomes the arguments of the call."""

from __future__ import annotations

import inspect
import json
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Union

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model

from .annotations import annotate, content_type, join, plain_array
from .descriptor import describe_model, has_arrays
from .downloads import download, url_in
from .forms import FormField, form_parts, parse_form
from .schema import body_media_type, flatten
from .uploads import Upload

Body = Union[bytes, bytearray]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
# Content types whose body is a form; every other body is JSON.
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class InvalidInput(Exception):
    """The request's body does not fit; ``title`` and ``details`` make the error body."""

    def __init__(self, title: str, error: ValidationError, prefix: tuple[str, ...] = ()):
        super().__init__(str(error))
        self.title = title
        self.count = error.error_count()
        self.details: list[dict[str, Any]] = [
            dict(detail) for detail in error.errors(include_context=False, include_input=False)
        ]
        for detail in self.details:
            if detail["type"] != "json_invalid":
                detail["loc"] = (*prefix, *detail["loc"])


@dataclass(frozen=True)
class Parameter:
    """A parameter of an API function, without the context."""

    name: str
    annotation: Any
    default: Any
    kind: Any


def form_fields(model: type[BaseModel]) -> dict[str, FormField]:
    """Return how the fields of a form are read into a model, references resolved one level."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    return {
        name: FormField.of(definitions.get(member.get("$ref", "").rpartition("/")[2], member))
        for name, member in schema.get("properties", {}).items()
    }


def file_fields(fields: dict[str, FormField]) -> list[str]:
    """Return the names of the fields that are files."""
    return [name for name, field in fields.items() if field.is_file]


class ObjectInput:
    """A JSON object with one member per parameter."""

    is_root = False

    def __init__(
        self,
        model: type[BaseModel],
        variadic: str | None = None,
        keywords: str | None = None,
        before: tuple[str, ...] = (),
    ):
        self.model = model
        self.title = model.__name__
        self._variadic = variadic
        self._keywords = keywords
        self._before = before
        self._validator = model.__pydantic_validator__

    @classmethod
    def of(cls, parameters: list[Parameter], module: str) -> ObjectInput:
        """Describe the parameters of a function."""
        fields: dict[str, Any] = {}
        variadic = keywords = None
        before: list[str] = []
        for parameter in parameters:
            name, annotation = parameter.name, annotate(parameter.annotation)
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                before = list(fields)
                variadic = name = "args"
                annotation = list[annotation]
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                keywords = name = "kwargs"
                annotation = dict[str, Any]
            fields[name] = (
                annotation,
                ... if parameter.default is inspect.Parameter.empty else parameter.default,
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a parameter may be named like an attribute of BaseModel
            model = create_model("Input", __module__=module, __config__=ConfigDict(protected_namespaces=()), **fields)
        return cls(model, variadic, keywords, tuple(before))

    @cached_property
    def only_parameter(self) -> str | None:
        """The name of the parameter, if there is one only."""
        names = list(self.model.model_fields)
        return names[0] if len(names) == 1 and not (self._variadic or self._keywords) else None

    @cached_property
    def only_array(self) -> dict[str, Any] | None:
        """What the front must know to read a body that is one array of numbers; None for any other input."""
        name = self.only_parameter
        if name is None:
            return None
        field = self.model.model_fields[name]
        schema = plain_array(join(field.annotation, list(field.metadata)))
        return None if schema is None or field.alias is not None else {"parameter": name, **schema}

    def validate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Return the arguments of a call inside of the server, validated; ``InvalidInput`` when they do not fit."""
        if self._variadic or self._keywords:
            return args, kwargs
        names = list(self.model.model_fields)
        data = {**dict(zip(names, args)), **kwargs}
        try:
            return (), dict(self._validator.validate_python(data).__dict__)
        except ValidationError as error:
            raise InvalidInput(self.title, error) from error

    def decode(self, body: Body, content_type: str, boundary_source: str) -> Arguments:
        """Return the arguments that a body gives."""
        try:
            if content_type in FORMS:
                data = parse_form(body, boundary_source, self.fields)
                values = self._validator.validate_python(data).__dict__
            else:
                values = self._validator.validate_json(body or b"{}").__dict__
        except ValidationError as error:
            raise InvalidInput(self.title, error) from error
        return self._arguments(values) if self._variadic or self._keywords else ((), values)

    def schema(self) -> dict[str, Any]:
        """Return the input's part of ``/schema.json``."""
        return flatten(self.openapi())

    def openapi(self, **options: Any) -> dict[str, Any]:
        """Return the JSON schema with the given references and mode."""
        return self.model.model_json_schema(**options)

    @cached_property
    def fields(self) -> dict[str, FormField]:
        """How a form's fields are read."""
        return form_fields(self.model)

    @cached_property
    def takes_files(self) -> bool:
        """Whether a request may bring files, whose decoding blocks."""
        return bool(file_fields(self.fields))

    @property
    def media_type(self) -> str:
        """The media type of the usual body: files come in forms."""
        return "multipart/form-data" if self.takes_files else "application/json"

    def _arguments(self, values: dict[str, Any]) -> Arguments:
        values = dict(values)
        positional: tuple[Any, ...] = ()
        if self._variadic:
            positional = (*(values.pop(name) for name in self._before), *values.pop(self._variadic))
        if self._keywords:
            values.update(values.pop(self._keywords))
        return positional, values


class RootInput:
    """The whole body is the one positional argument."""

    is_root = True

    def __init__(self, annotation: Any):
        self.model: type[BaseModel] | None = None
        kind = annotation
        if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
            self.model = describe_model(annotation)
            self.title = self.model.__name__
            kind = self.model if has_arrays(annotation, self.model) else annotation
            self._prefix: tuple[str, ...] = ()
        else:
            self.title = f"{getattr(annotation, '__name__', '')}IODescriptor"
            kind = annotate(annotation)
            self._prefix = ("root",)
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
        self._validator = self._adapter.validator
        schema = {} if self.model else self.openapi()
        self.fields = {} if self.model is None else form_fields(self.model)
        self._whole = FormField.of(schema)
        self._is_text = schema.get("type") == "string"
        has_file_fields = bool(file_fields(self.fields))
        self.takes_files = self._whole.is_file or has_file_fields
        usual = "multipart/form-data" if has_file_fields else body_media_type(schema)
        self.media_type = content_type(annotation) or usual
        self.only_array = plain_array(kind)

    def validate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Return the argument of a call inside of the server, validated; ``InvalidInput`` when it does not fit."""
        (value,) = (*args, *kwargs.values())
        try:
            return (self._validator.validate_python(value),), {}
        except ValidationError as error:
            raise InvalidInput(self.title, error, self._prefix) from error

    def decode(self, body: Body, content_type: str, boundary_source: str) -> Arguments:
        """Return the argument that a body gives."""
        try:
            if self._is_text:
                value = self._validator.validate_python(bytes(body))
            elif self._whole.is_file:
                value = self._validator.validate_python(self._files(body, content_type, boundary_source))
            elif content_type in FORMS:
                value = self._validator.validate_python(parse_form(body, boundary_source, self.fields))
            elif self.model is not None:
                value = self._validator.validate_json(body or b"{}")
            else:
                value = self._validator.validate_python(self._parse(body or b"{}"))
        except ValidationError as error:
            raise InvalidInput(self.title, error, self._prefix) from error
        return (value,), {}

    def _files(self, body: Body, content_type: str, boundary_source: str) -> Any:
        """Return the file that the body is, or those of its parts, whatever they are called."""
        if content_type == "multipart/form-data":
            parts = list(form_parts(body, boundary_source))
            files = [part for part in parts if part.filename is not None] or parts
            return self._whole.value(files) if files or self._whole.is_list else None
        url = url_in(body)
        upload = Upload(body) if url is None else download(url)
        return [upload] if self._whole.is_list else upload

    def _parse(self, body: Body) -> Any:
        """Parse first and validate then, as upstream does for these inputs: the two modes word errors differently."""
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            return self._validator.validate_json(body)  # raises, with the position of the mistake

    def schema(self) -> dict[str, Any]:
        """Return the input's part of ``/schema.json``."""
        return flatten(self.openapi())

    def openapi(self, **options: Any) -> dict[str, Any]:
        """Return the JSON schema with the given references and mode."""
        make = self._adapter.json_schema if self.model is None else self.model.model_json_schema
        return {**make(**options), "root_input": True}
