"""``IODescriptor``: a pydantic model whose fields may be arrays and frames, as input or output of an API."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

from .annotations import annotate_field


class IODescriptor(BaseModel):  # noqa: D101 (pydantic puts a docstring into the schema)
    model_config = ConfigDict(arbitrary_types_allowed=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        for field in cls.model_fields.values():
            annotate_field(field)
        return handler(source)


def describe_model(model: type[BaseModel]) -> type[BaseModel]:
    """Return the class that describes ``model`` in schemas and errors: itself, or upstream's ``<Name>IODescriptor``."""
    if issubclass(model, IODescriptor):
        return model
    return create_model(f"{model.__name__}IODescriptor", __base__=(IODescriptor, model))


def has_arrays(model: type[BaseModel], described: type[BaseModel]) -> bool:
    """Tell whether the description reads a field differently from the user's own class."""
    return any(
        field.annotation is not described.model_fields[name].annotation
        or field.metadata != described.model_fields[name].metadata
        for name, field in model.model_fields.items()
    )
