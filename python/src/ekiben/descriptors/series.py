"""``PandasSeries``: a series as JSON."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any

from ..exceptions import BadInput, InvalidArgument
from .base import Content, Encoded, IODescriptor
from .pandas_formats import fits_shape, schema_type, type_name

if TYPE_CHECKING:
    from pandas import Series

logger = logging.getLogger(__name__)


class PandasSeries(IODescriptor):
    """A series. What is enforced is refused when it differs; the type is converted where that is possible."""

    value_class = ("pandas", "Series")

    def __init__(
        self,
        orient: str = "records",
        dtype: Any = None,
        enforce_dtype: bool = False,
        shape: tuple[int, ...] | None = None,
        enforce_shape: bool = False,
    ):
        self._orient = orient
        self._dtype = None if dtype == "null" else dtype
        self._enforce_dtype = enforce_dtype
        self._shape = None if shape is None else tuple(shape)
        self._enforce_shape = enforce_shape

    def _take_sample(self, sample: Any) -> Series:
        import pandas as pd

        series = sample if isinstance(sample, pd.Series) else pd.Series(sample)
        self._dtype = series.dtype if self._dtype is None else self._dtype
        self._shape = series.shape if self._shape is None else self._shape
        return series

    def _arguments(self) -> dict[str, Any]:
        return {
            "orient": self._orient,
            "dtype": type_name(self._dtype),
            "shape": self._shape,
            "enforce_dtype": self._enforce_dtype,
            "enforce_shape": self._enforce_shape,
        }

    def decode(self, content: Content) -> Series:
        """Return the series that a body gives."""
        import pandas as pd

        dtype = self._dtype if self._enforce_dtype else True
        series = pd.read_json(io.BytesIO(content.body), typ="series", orient=self._orient, dtype=dtype)
        return self.validate_series(series)

    def encode(self, value: Any) -> Encoded:
        """Return the series as JSON."""
        return self._encoded(self.validate_series(value).to_json(orient=self._orient).encode("utf-8"))

    def validate_series(self, series: Any) -> Series:
        """Return the series with the declared type, or refuse it."""
        import pandas as pd

        if not isinstance(series, pd.Series):
            raise InvalidArgument(f"return object is not of type 'pd.Series', got type '{type(series)}' instead")
        if self._enforce_shape and self._shape is not None and not fits_shape(self._shape, series.shape):
            raise BadInput(
                f"PandasSeries: Expecting Series of shape '{self._shape}', but '{series.shape}' was received."
            )
        return self._typed(series)

    def _typed(self, series: Series) -> Series:
        import numpy as np

        if self._dtype is None or isinstance(self._dtype, bool) or self._dtype == series.dtype:
            return series
        try:
            is_same_kind = np.can_cast(series.dtype, self._dtype, casting="same_kind")
        except TypeError:
            is_same_kind = False  # a type of pandas, which NumPy does not know
        if is_same_kind:
            return series.astype(self._dtype)
        message = (
            f'{type(self).__name__}: Expecting series of dtype "{self._dtype}", but "{series.dtype}" was received.'
        )
        if self._enforce_dtype:
            raise BadInput(message)
        logger.debug("%s", message)
        return series

    def openapi_schema(self) -> dict[str, Any]:
        """Return the schema of bodies in /docs.json; it is known where the type is declared by its name."""
        if isinstance(self._dtype, str) and self._orient in ("records", "columns"):
            return {"type": "array", "items": {"type": schema_type(self._dtype)}}
        if isinstance(self._dtype, str) and self._orient in ("index", "values"):
            return {"type": "object", "additionalProperties": {"type": schema_type(self._dtype)}}
        return {"type": "object"}

    def openapi_example(self) -> Any:
        """Return the sample as it stands in /docs.json."""
        return None if self.sample is None else self.sample.to_json(orient=self._orient)
