"""``InferenceAPI``: a function that clients can call, with what it takes and returns."""

from __future__ import annotations

import inspect
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from ..context import Context
from ..descriptors.base import Content
from ..exceptions import InvalidArgument

if TYPE_CHECKING:
    from ..context import Request
    from ..descriptors.base import IODescriptor

# The names under which a function with several inputs may ask for the context.
CONTEXT_NAMES = ("context", "ctx")
# Paths of the server itself, which no API can have.
RESERVED = ("index", "swagger", "docs", "metrics", "healthz", "livez", "readyz")
# `?` or `#` anywhere; `//` or `:` at the beginning (RFC 3986).
ILLEGAL_ROUTE = re.compile(r"[?#]|^//|^:")


class InferenceAPI:
    """An API of an old-style service; what is wrong with its signature is said when the module is imported."""

    # An API of this kind is neither of these.
    is_task = batchable = False

    def __init__(
        self,
        func: Callable[..., Any],
        input_descriptor: IODescriptor,
        output_descriptor: IODescriptor | None = None,
        *,
        name: str | None = None,
        doc: str | None = None,
        route: str | None = None,
    ):
        self.func = func
        self.name = func.__name__ if name is None else name
        self.route = self.name if route is None else route
        self.doc = getattr(func, "__doc__", None) if doc is None else doc
        _check_name(self.name)
        _check_route(self.route)
        self.input = _checked_descriptor("input", input_descriptor)
        self.multi_input = hasattr(input_descriptor, "parts")
        self.ctx_param = self._read_signature()
        self.needs_ctx = self.ctx_param is not None
        if output_descriptor is None:
            from .returned import output_of

            output_descriptor = output_of(func)
        self.output = _checked_descriptor("output", output_descriptor)
        self.is_async = _is_async(func)
        self.is_stream = inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func)

    @property
    def path(self) -> str:
        """The route with its leading slash."""
        return self.route if self.route.startswith("/") else f"/{self.route}"

    # The names that the worker knows the two by.
    @property
    def input_spec(self) -> IODescriptor:
        """What the API takes."""
        return self.input

    @property
    def output_spec(self) -> IODescriptor:
        """What the API returns, or yields."""
        return self.output

    def arguments(self, request: Request, context: Context) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the function is called with; the context comes second, or by its name among several inputs."""
        value = self.input.decode(Content(request.raw_body, request.headers))
        if not self.multi_input:
            return ((value, context) if self.needs_ctx else (value,)), {}
        return (), {**value, self.ctx_param: context} if self.ctx_param is not None else value

    def _read_signature(self) -> str | None:
        """Check the parameters; return the one that takes the context."""
        parameters = list(inspect.signature(self.func).parameters.values())
        if not parameters:
            raise ValueError("Expected API function to take parameters.")
        if self.multi_input:
            return _read_parts(parameters, self.input.parts)  # type: ignore[attr-defined] (it is a form)
        if len(parameters) > 2:
            raise ValueError("API function should only take one or two arguments")
        _check_annotation(parameters[0], self.input)
        if len(parameters) == 1:
            return None
        annotation = _plain_class(parameters[1].annotation)
        if annotation is not None and annotation is not Context:
            raise TypeError(
                f"Expected type of argument '{parameters[1].name}' to be 'bentoml.Context', got '{annotation}'"
            )
        return parameters[1].name

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.input!r} → {self.output!r})"


def _read_parts(parameters: list[inspect.Parameter], parts: dict[str, IODescriptor]) -> str | None:
    context = None
    for parameter in parameters:
        if parameter.name in parts:
            _check_annotation(parameter, parts[parameter.name])
        elif parameter.name not in CONTEXT_NAMES and parameter.annotation is not Context:
            raise ValueError(f"API function has extra parameter with name '{parameter.name}'.")
        elif context is not None:
            raise ValueError(
                f"API function has two context parameters: '{context}' and '{parameter.name}'; it should only have one."
            )
        else:
            context = parameter.name
    if len(parameters) != len(parts) + (context is not None):
        found = ", ".join(parameter.name for parameter in parameters)
        raise ValueError(f"expected API function to have arguments ({', '.join(parts)}, [context]), got ({found})")
    return context


def _check_annotation(parameter: inspect.Parameter, descriptor: IODescriptor) -> None:
    """Refuse an annotation that no value of the descriptor can fit."""
    annotation = _plain_class(parameter.annotation)
    if annotation is None or descriptor.value_class is None:
        return
    module, name = descriptor.value_class
    expected = getattr(sys.modules.get(module), name, None)
    # A class of a library that nobody has imported cannot be named in an annotation.
    fits = annotation is object if expected is None else _are_related(annotation, expected)
    if not fits:
        raise TypeError(f"Expected type of argument '{parameter.name}' to be '{module}.{name}', got '{annotation}'")


def _are_related(left: type, right: type) -> bool:
    return issubclass(left, right) or issubclass(right, left)


def _plain_class(annotation: Any) -> type | None:
    """Return an annotation that is a class; text, aliases and the like are not compared with anything."""
    is_class = isinstance(annotation, type) and annotation is not inspect.Parameter.empty
    return annotation if is_class and not hasattr(annotation, "__origin__") else None


def _check_name(name: str) -> None:
    if not name.isidentifier():
        raise InvalidArgument(
            f"Invalid API name: '{name}', a valid identifier may only contain letters, numbers, underscores and not "
            "starting with a number."
        )
    if name in RESERVED:
        raise InvalidArgument(f"Reserved API name: '{name}' is reserved for infra endpoints")


def _check_route(route: str) -> None:
    if ILLEGAL_ROUTE.search(route):
        raise InvalidArgument(f"The path {route} contains illegal url characters")
    if route in RESERVED:
        raise InvalidArgument(f"Reserved API route: '{route}' is reserved for infra endpoints")


def _checked_descriptor(what: str, descriptor: Any) -> IODescriptor:
    from ..descriptors.base import IODescriptor

    if not isinstance(descriptor, IODescriptor):
        raise TypeError(
            f"`{what}` of an API must be a descriptor of `bentoml.io`, such as `JSON()`, not {descriptor!r}"
        )
    return descriptor


def _is_async(func: Any) -> bool:
    """Tell whether a call gives a coroutine or an asynchronous generator."""
    while isinstance(func, partial):
        func = func.func
    # An instance with such a method counts, too.
    candidates = (func, vars(type(func)).get("__call__"))
    return any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in candidates)
