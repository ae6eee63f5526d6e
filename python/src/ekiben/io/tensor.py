"""``TensorSchema``: how pydantic reads, writes and describes an array."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TensorSchema:
    """An array of a library (``numpy-array``), with its element type and shape where they are declared."""

    format: str
    dtype: str | None = None
    shape: tuple[int, ...] | None = None

    @property
    def dim(self) -> int | None:
        """The number of elements."""
        return None if self.shape is None else math.prod(self.shape)

    def validate(self, value: Any) -> Any:
        """Make an array of nested lists; an array passes as it is."""
        import numpy as np

        if isinstance(value, np.ndarray):
            return value
        try:
            array = np.array(value, dtype=self.dtype)
        except TypeError as error:
            # Pydantic turns a ValueError into a validation error; a TypeError would become a failure of the server.
            raise ValueError(str(error)) from error
        return array if self.shape is None else array.reshape(self.shape)

    def encode(self, array: Any, info: Any) -> Any:
        """Give nested lists for JSON, else the array itself."""
        return array.tolist() if info.mode_is_json() else array

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            self.validate,
            core_schema.any_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(self.encode, info_arg=True),
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        described = handler(schema)
        if handler.mode == "validation":
            described.update(type="tensor", format=self.format)
            facts = {"dtype": self.dtype, "shape": self.shape, "dim": self.dim}
            described.update({key: fact for key, fact in facts.items() if fact is not None})
            return described
        nested: dict[str, Any] = {"type": "number"}
        for _ in range(1 if self.shape is None else len(self.shape)):
            nested = {"type": "array", "items": nested}
        described.update(nested)
        return described
