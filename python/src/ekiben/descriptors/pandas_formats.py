"""What data frames and series share: their types in specifications and documents, and their checks."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..exceptions import MissingDependencyException

# The libraries that pandas reads and writes Parquet with, the preferred one first.
PARQUET_ENGINES = ("pyarrow", "fastparquet")


def parquet_engine() -> str:
    """Return the library for Parquet."""
    for name in PARQUET_ENGINES:
        if find_spec(name) is not None:
            return name
    raise MissingDependencyException(
        "Parquet serialization is not available. Try installing pyarrow or fastparquet first."
    )


def type_name(dtype: Any) -> Any:
    """Return a type as it stands in specifications: text, by column if it is declared so."""
    if isinstance(dtype, dict):
        return {str(key): type_name(value) for key, value in dtype.items()}
    return "null" if dtype is None else str(dtype)


def schema_type(dtype: Any) -> str:
    """Return the type of values in JSON schemas."""
    from pandas.api import types

    if types.is_bool_dtype(dtype):
        return "boolean"
    if types.is_integer_dtype(dtype):
        return "integer"
    if types.is_float_dtype(dtype):
        return "number"
    return "string" if types.is_string_dtype(dtype) or types.is_datetime64_dtype(dtype) else "object"


def fits_shape(declared: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Tell whether a shape is the declared one; -1 is any length. Dimensions that only one of them has do not count."""
    return all(-1 in pair or pair[0] == pair[1] for pair in zip(declared, shape))
