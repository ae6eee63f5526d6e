"""``DataframeSchema`` and ``SeriesSchema``: how pydantic reads, writes and describes what pandas has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# orient -> the name that pandas' `to_dict` has for it
ORIENTS = {"records": "records", "columns": "list"}


@dataclass(frozen=True)
class DataframeSchema:
    """A frame as a list of rows (``records``) or a map of columns (``columns``)."""

    orient: str = "records"
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.orient not in ORIENTS:
            raise ValueError("Only 'records' and 'columns' are supported for orient")
        object.__setattr__(self, "columns", tuple(self.columns) if self.columns else None)

    def validate(self, value: Any) -> Any:
        """Make a frame of rows or columns; a frame passes as it is."""
        import pandas as pd

        if isinstance(value, pd.DataFrame):
            return value
        try:
            return pd.DataFrame(value, columns=self.columns)
        except TypeError as error:
            raise ValueError(str(error)) from error

    def encode(self, frame: Any, info: Any) -> Any:
        """Give rows or columns for JSON, else the frame itself."""
        return frame.to_dict(orient=ORIENTS[self.orient]) if info.mode_is_json() else frame

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
            described.update(type="dataframe", orient=self.orient)
            if self.columns is not None:
                described["columns"] = self.columns
        elif self.orient == "records":
            described.update(type="array", items={"type": "object"})
        else:
            described.update(type="object", additionalProperties={"type": "array"})
        return described


@dataclass(frozen=True)
class SeriesSchema:
    """A series as a list of its values, or as a map from index to value."""

    def validate(self, value: Any) -> Any:
        """Make a series of a list or a map; a series passes as it is."""
        import pandas as pd

        if isinstance(value, pd.Series):
            return value
        if not isinstance(value, (list, dict)):
            raise ValueError("a series is made of a list or of an object")
        try:
            return pd.Series(value)
        except TypeError as error:
            raise ValueError(str(error)) from error

    def encode(self, series: Any, info: Any) -> Any:
        """Give the values for JSON, else the series itself."""
        return series.tolist() if info.mode_is_json() else series

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            self.validate,
            core_schema.any_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(self.encode, info_arg=True),
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        described = handler(schema)
        described.update(type="array", items={})
        return described
