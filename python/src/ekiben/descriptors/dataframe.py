"""``PandasDataFrame``: a data frame as JSON, CSV or Parquet."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from ..exceptions import BadInput, InvalidArgument
from .base import Content, Encoded, IODescriptor
from .pandas_formats import fits_shape, parquet_engine, schema_type, type_name

if TYPE_CHECKING:
    from pandas import DataFrame

# format -> its media type
FORMATS = {"json": "application/json", "parquet": "application/vnd.apache.parquet", "csv": "text/csv"}
# What requests may say; clients of old send Parquet without its own type.
REQUEST_FORMATS = {**{media: name for name, media in FORMATS.items()}, "application/octet-stream": "parquet"}


class PandasDataFrame(IODescriptor):
    """A data frame. The request's content type says what it is; answers have the ``default_format``."""

    value_class = ("pandas", "DataFrame")

    def __init__(
        self,
        orient: str = "records",
        columns: list[str] | None = None,
        apply_column_names: bool = False,
        dtype: Any = None,
        enforce_dtype: bool = False,
        shape: tuple[int, ...] | None = None,
        enforce_shape: bool = False,
        default_format: str = "json",
    ):
        self._format = default_format.lower()
        if self._format not in FORMATS:
            raise InvalidArgument(f"`default_format` must be one of {', '.join(FORMATS)}, not `{default_format}`")
        if self._format == "parquet":
            parquet_engine()
        self._orient = orient
        self._columns = columns
        self._apply_column_names = apply_column_names
        self._dtype = None if dtype == "null" else dtype
        self._enforce_dtype = enforce_dtype
        self._shape = None if shape is None else tuple(shape)
        self._enforce_shape = enforce_shape
        self._mime_type = FORMATS[self._format]

    def _take_sample(self, sample: Any) -> DataFrame:
        import pandas as pd

        frame = sample if isinstance(sample, pd.DataFrame) else pd.DataFrame(sample)
        self._shape = frame.shape if self._shape is None else self._shape
        self._columns = [str(name) for name in frame.columns] if self._columns is None else self._columns
        self._dtype = frame.dtypes.to_dict() if self._dtype is None else self._dtype
        return frame

    def _arguments(self) -> dict[str, Any]:
        return {
            "orient": self._orient,
            "columns": self._columns,
            "dtype": type_name(self._dtype),
            "shape": self._shape,
            "enforce_dtype": self._enforce_dtype,
            "enforce_shape": self._enforce_shape,
            "default_format": self._format,
        }

    def decode(self, content: Content) -> DataFrame:
        """Return the frame that a body gives."""
        import pandas as pd

        body = io.BytesIO(content.body)
        dtype = self._dtype if self._enforce_dtype else None
        kind = REQUEST_FORMATS.get(content.media_type, self._format)
        if kind == "parquet":
            frame = pd.read_parquet(body, engine=parquet_engine())
        elif kind == "csv":
            frame = pd.read_csv(body, dtype=dtype)
        else:
            frame = pd.read_json(body, dtype=True if dtype is None else dtype, orient=self._orient)
        return self.validate_dataframe(frame)

    def encode(self, value: Any) -> Encoded:
        """Return the frame in the default format."""
        frame = self.validate_dataframe(value)
        if self._format == "parquet":
            return self._encoded(frame.to_parquet(engine=parquet_engine()))
        text = frame.to_csv() if self._format == "csv" else frame.to_json(orient=self._orient)
        return self._encoded(text.encode("utf-8"))

    def validate_dataframe(self, frame: Any) -> DataFrame:
        """Return the frame with the declared names of columns, or refuse it."""
        import pandas as pd

        if not isinstance(frame, pd.DataFrame):
            raise InvalidArgument(f"return object is not of type 'pd.DataFrame', got type '{type(frame)}' instead")
        if self._apply_column_names:
            if not self._columns:
                raise BadInput("When apply_column_names is set, you must provide columns.")
            if len(self._columns) != frame.shape[1]:
                raise BadInput(
                    f"length of 'columns' ({len(self._columns)}) does not match the # of columns of incoming data "
                    f"({frame.shape[1]})."
                )
            frame.columns = pd.Index(self._columns)
        if self._enforce_shape and self._shape is not None and not fits_shape(self._shape, frame.shape):
            raise BadInput(
                f'PandasDataFrame: Expecting DataFrame of shape "{self._shape}", but "{frame.shape}" was received.'
            )
        return frame

    def openapi_schema(self) -> dict[str, Any]:
        """Return the schema of bodies in /docs.json; it is known where the columns' types are declared."""
        if not isinstance(self._dtype, dict):
            return {"type": "object"}
        columns = {str(name): {"type": schema_type(dtype)} for name, dtype in self._dtype.items()}
        row = {"type": "object", "properties": columns}
        if self._orient == "records":
            return {"type": "array", "items": row}
        if self._orient == "index":
            return {"type": "object", "additionalProperties": row}
        if self._orient == "columns":
            members = {name: {"type": "object", "additionalProperties": kind} for name, kind in columns.items()}
        else:
            members = {name: {"type": "array", "items": kind} for name, kind in columns.items()}
        return {"type": "object", "properties": members}

    def openapi_example(self) -> Any:
        """Return the sample as it stands in /docs.json."""
        return None if self.sample is None else self.sample.to_json(orient=self._orient)
