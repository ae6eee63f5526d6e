"""The output of an API that declares none, as before 1.0: by the function's annotation, else by what it returns.

To add a kind of value: a line in ``BY_CLASS``.
"""

from __future__ import annotations

import inspect
import typing as t
from typing import Any, Callable

from ..apis.signature import ITERATORS, evaluate
from ..descriptors import load
from ..descriptors.base import SUCCESS, Content, Encoded, IODescriptor

# "module:class" -> the descriptor of its values; what is not here is JSON.
BY_CLASS = {
    "builtins:str": "Text",
    "builtins:bytes": "File",
    "_io:_IOBase": "File",
    "numpy:ndarray": "NumpyNdarray",
    "pandas.core.frame:DataFrame": "PandasDataFrame",
    "pandas:DataFrame": "PandasDataFrame",
    "pandas.core.series:Series": "PandasSeries",
    "pandas:Series": "PandasSeries",
    "PIL.Image:Image": "Image",
}


class Returned(IODescriptor):
    """Whatever is returned: each value in its own form, text and JSON before all."""

    def __init__(self) -> None:
        self._descriptors: dict[str, IODescriptor] = {}

    def decode(self, content: Content) -> Any:
        """Refuse: this describes outputs only."""
        raise NotImplementedError("an input needs a descriptor")

    def encode(self, value: Any) -> Encoded:
        """Return the body in the form of the value's kind."""
        name = descriptor_name(type(value))
        if name not in self._descriptors:
            self._descriptors[name] = load(name)()
        return self._descriptors[name].encode(value)

    @property
    def content_type(self) -> str:
        """The ``content-type`` header of streams."""
        return "text/plain; charset=utf-8"

    def openapi_responses(self) -> dict[str, Any]:
        """Return what /docs.json says of responses: no descriptor can be named."""
        content = {"application/json": {"schema": {}}, "text/plain": {"schema": {"type": "string"}}}
        return {"description": SUCCESS, "content": content}


def output_of(func: Callable[..., Any]) -> IODescriptor:
    """Return the output that a function's annotation names; ``Returned`` where it names nothing that is certain."""
    try:
        annotation = evaluate(inspect.signature(func).return_annotation, func)
    except Exception:
        # A name that only type checkers see; the value will tell.
        return Returned()
    kind = t.get_origin(annotation) or annotation
    if kind in ITERATORS:
        return load("Text")()
    if kind is type(None) or kind is None:
        return load("JSON")()
    is_certain = isinstance(kind, type) and kind not in (object, inspect.Signature.empty, Any)
    return load(descriptor_name(kind))() if is_certain else Returned()


def descriptor_name(kind: type) -> str:
    """Return the descriptor of a class's values, found without importing any library."""
    names = (BY_CLASS.get(f"{base.__module__}:{base.__qualname__}") for base in kind.__mro__)
    return next((name for name in names if name is not None), "JSON")
