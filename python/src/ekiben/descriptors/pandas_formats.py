"""What data frames and series share: their types in specifications and documents, and their checks."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..exceptions import BadInput, MissingDependencyException

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


def check_shape(
    name: str, kind: str, declared: tuple[int, ...] | None, shape: tuple[int, ...], is_enforced: bool
) -> None:
    """Refuse a shape that differs from the declared one, if that is enforced; -1 is any length."""
    if declared is None or not is_enforced:
        return
    if any(-1 not in pair and pair[0] != pair[1] for pair in zip(declared, shape)):
        raise BadInput(f'{name}: Expecting {kind} of shape "{declared}", but "{shape}" was received.')
