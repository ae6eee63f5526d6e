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
from .forms import FormField, parse_form
from .schema import TEXT_TYPES, flatten

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
        self.media_type = "application/json"
        self._variadic = variadic
        self._keywords = keywords
        self._before = before
        self._validator = model.__pydantic_validator__
        self._form_fields: dict[str, FormField] | None = None

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
                data = parse_form(body, boundary_source, self._fields())
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

    def _fields(self) -> dict[str, FormField]:
        if self._form_fields is None:
            properties = self.schema_properties()
            self._form_fields = {name: FormField.of(schema) for name, schema in properties.items()}
        return self._form_fields

    def schema_properties(self) -> dict[str, Any]:
        """Return the JSON schema of every member, references resolved one level."""
        schema = self.model.model_json_schema()
        definitions = schema.get("$defs", {})
        return {
            name: definitions.get(member.get("$ref", "").rpartition("/")[2], member)
            for name, member in schema.get("properties", {}).items()
        }

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
        self._is_text = self.model is None and self.openapi().get("type") in TEXT_TYPES
        declared = content_type(annotation)
        self.media_type = declared or ("text/plain" if self._is_text else "application/json")
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
            elif content_type in FORMS:
                value = self._validator.validate_python(parse_form(body, boundary_source, self._fields()))
            elif self.model is not None:
                value = self._validator.validate_json(body or b"{}")
            else:
                value = self._validator.validate_python(self._parse(body or b"{}"))
        except ValidationError as error:
            raise InvalidInput(self.title, error, self._prefix) from error
        return (value,), {}

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

    def _fields(self) -> dict[str, FormField]:
        properties = {} if self.model is None else ObjectInput(self.model).schema_properties()
        return {name: FormField.of(schema) for name, schema in properties.items()}
