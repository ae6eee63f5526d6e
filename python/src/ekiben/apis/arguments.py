"""The arguments of a call by another service, checked by the caller as the API would check them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .method import APIMethod


def checked(method: APIMethod, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the arguments as the API gets them, validated here: a wrong one is an error of the caller."""
    bound = _signature(method).bind(*args, **kwargs)
    return method.input_spec.validate(bound.args, bound.kwargs)


def named(method: APIMethod, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return arguments by the names of the API's parameters."""
    return dict(_signature(method).bind(*args, **kwargs).arguments)


def _signature(method: APIMethod) -> inspect.Signature:
    parameters = [
        parameter
        for parameter in list(inspect.signature(method.func).parameters.values())[1:]
        if parameter.name != method.ctx_param
    ]
    return inspect.Signature(parameters)
