"""Reading an API function's signature: its input, its output, its context parameter."""

from __future__ import annotations

import collections.abc
import inspect
import sys
import typing as t
from typing import TYPE_CHECKING, Any, Callable, Union

if TYPE_CHECKING:
    from ..io.inputs import ObjectInput, RootInput
    from ..io.outputs import ModelOutput, ValueOutput

    Input = Union[ObjectInput, RootInput]
    Output = Union[ModelOutput, ValueOutput]

# The two names under which a function may ask for the context.
CONTEXT_NAMES = ("ctx", "context")
ITERATORS = {
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
}


def context_parameter(func: Callable[..., Any]) -> str | None:
    """Return the name of the parameter that takes the context: unannotated, or annotated ``Context``."""
    from ..context import Context

    parameters = inspect.signature(func).parameters
    name = next((name for name in CONTEXT_NAMES if name in parameters), None)
    if name is None:
        return None
    annotation = parameters[name].annotation
    if annotation is inspect.Parameter.empty or evaluate(annotation, func) is Context:
        return name
    return None


def read_input(func: Callable[..., Any], context: str | None) -> Input:
    """Return the input that the parameters after ``self`` describe."""
    from ..io.inputs import ObjectInput, Parameter, RootInput

    parameters = [
        Parameter(
            parameter.name,
            Any if parameter.annotation is parameter.empty else evaluate(parameter.annotation, func),
            parameter.default,
            parameter.kind,
        )
        for parameter in list(inspect.signature(func).parameters.values())[1:]
        if parameter.name != context
    ]
    root = [parameter for parameter in parameters if parameter.kind is inspect.Parameter.POSITIONAL_ONLY]
    if root and len(parameters) > 1:
        raise TypeError("When positional-only argument is used, no other parameters can be specified")
    if root:
        return RootInput(root[0].annotation)
    return ObjectInput.of(parameters, func.__module__)


def read_output(func: Callable[..., Any], is_stream: bool) -> Output:
    """Return the output that the return annotation describes; for a stream, that of one item."""
    from ..io.annotations import content_type, split
    from ..io.outputs import STREAM_MEDIA_TYPE, output_of

    annotation = inspect.signature(func).return_annotation
    annotation = Any if annotation is inspect.Signature.empty else evaluate(annotation, func)
    source = split(annotation)[0]
    if t.get_origin(source) in ITERATORS:
        output = output_of(t.get_args(source)[0])
        output.declare(content_type(annotation))
    elif source in ITERATORS:
        output = output_of(Any)
        output.declare(content_type(annotation))
    elif is_response_class(source):
        output = output_of(Any)
    else:
        output = output_of(annotation)
    if is_stream and output.declared_media_type is None:
        output.declare(STREAM_MEDIA_TYPE)
    return output


def is_response_class(source: Any) -> bool:
    """Recognise the response class of starlette and its subclasses, which an API may return as they are."""
    bases = source.__mro__ if isinstance(source, type) else ()
    return any(base.__module__ == "starlette.responses" and base.__name__ == "Response" for base in bases)


def evaluate(annotation: Any, func: Callable[..., Any]) -> Any:
    """Return the type that an annotation written as text names, seen from the function's module."""
    if not isinstance(annotation, str):
        return annotation
    module = sys.modules.get(func.__module__)
    names = {**vars(t), **(vars(module) if module else {}), **getattr(func, "__globals__", {})}
    return eval(annotation, names)  # noqa: S307 (the text is the user's own source)
