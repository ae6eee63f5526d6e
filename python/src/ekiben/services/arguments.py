"""``bentoml.use_arguments``: what ``--arg`` gives to a service, or the bento it was built into."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..exceptions import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    Model = TypeVar("Model", bound=BaseModel)

_arguments: dict[str, Any] = {}


def set_arguments(arguments: Mapping[str, Any]) -> None:
    """Make these the arguments of the service that is imported next."""
    global _arguments
    _arguments = dict(arguments)


@overload
def use_arguments(model: type[Model]) -> Model: ...


@overload
def use_arguments(model: None = None) -> SimpleNamespace: ...


def use_arguments(model: type[Model] | None = None) -> Any:
    """Return the arguments as attributes of an object: of ``model``, which checks them, or as they are."""
    if model is None:
        return SimpleNamespace(**_arguments)
    from pydantic import ValidationError

    try:
        return model(**_arguments)
    except ValidationError as error:
        raise InvalidArgument(f"Argument error. Please provide correct arguments via --arg option: {error}") from error
