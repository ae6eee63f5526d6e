"""``NumpyNdarray``: an array as nested lists of JSON."""

from __future__ import annotations

import json
import logging
from typing import Any

from ..exceptions import BadInput, UnprocessableEntity
from .base import Content, Encoded, IODescriptor

logger = logging.getLogger(__name__)


class NumpyNdarray(IODescriptor):
    """An array. What is enforced is refused when it differs; the rest is converted where that is possible."""

    value_class = ("numpy", "ndarray")

    def __init__(
        self,
        dtype: Any = None,
        enforce_dtype: bool = False,
        shape: tuple[int, ...] | None = None,
        enforce_shape: bool = False,
    ):
        self._dtype = _dtype(dtype)
        self._enforce_dtype = enforce_dtype
        # Specifications are JSON, which has lists only.
        self._shape = None if shape is None else tuple(shape)
        self._enforce_shape = enforce_shape

    def _take_sample(self, sample: Any) -> Any:
        import numpy as np

        if isinstance(sample, np.generic):
            raise BadInput("'NumpyNdarray.from_sample()' expects a 'numpy.array', not 'numpy.generic'.")
        try:
            array = np.asarray(sample)
        except ValueError:
            raise BadInput(f"Given sample ({sample}) is not a numpy ND-array") from None
        self._dtype = array.dtype if self._dtype is None else self._dtype
        self._shape = array.shape if self._shape is None else self._shape
        return array

    def _arguments(self) -> dict[str, Any]:
        return {
            "dtype": None if self._dtype is None else self._dtype.name,
            "shape": self._shape,
            "enforce_dtype": self._enforce_dtype,
            "enforce_shape": self._enforce_shape,
        }

    def decode(self, content: Content) -> Any:
        """Return the array that nested lists give."""
        import numpy as np

        value = json.loads(content.body)
        try:
            array = np.array(value, dtype=self._dtype)
        except ValueError:
            array = np.array(value)
        return self.validate_array(array)

    def encode(self, value: Any) -> Encoded:
        """Return the array as nested lists."""
        return self._encoded(json.dumps(self.validate_array(value).tolist()).encode("utf-8"))

    def validate_array(self, array: Any) -> Any:
        """Return the array with the declared type and shape, or refuse it."""
        return self._shaped(self._typed(array))

    def _typed(self, array: Any) -> Any:
        import numpy as np

        if self._dtype is None or self._dtype == array.dtype:
            return array
        # Within a kind: from float64 to float32, not from text to numbers.
        if np.can_cast(array.dtype, self._dtype, casting="same_kind"):
            return array.astype(self._dtype, casting="same_kind")
        self._differs("dtype", self._dtype, array.dtype, self._enforce_dtype)
        return array

    def _shaped(self, array: Any) -> Any:
        if self._shape is None or _fits(self._shape, array.shape):
            return array
        self._differs("shape", self._shape, array.shape, self._enforce_shape)
        try:
            return array.reshape(self._shape)
        except ValueError as error:
            logger.debug("Failed to reshape: %s", error)
            return array

    def _differs(self, what: str, expected: Any, received: Any, is_enforced: bool) -> None:
        message = f'{type(self).__name__}: Expecting ndarray of {what} "{expected}", but "{received}" was received.'
        if is_enforced:
            raise BadInput(message)
        logger.debug("%s", message)

    def openapi_schema(self) -> dict[str, Any]:
        """Return the schema of bodies in /docs.json, of arrays of one or two dimensions."""
        is_number = self._dtype is not None and self._dtype.name.startswith(("float", "complex"))
        items: dict[str, Any] = {"type": "number" if is_number else "integer"}
        if self._shape and len(self._shape) > 1:
            items = {"type": "array", "items": items}
        return {"type": "array", "items": items, "nullable": True}

    def openapi_example(self) -> Any:
        """Return the sample as it stands in /docs.json."""
        return None if self.sample is None else self.sample.tolist()


def _dtype(dtype: Any) -> Any:
    """Return NumPy's type for what names one."""
    if dtype is None:
        return None
    import numpy as np

    try:
        return np.dtype(dtype)
    except TypeError as error:
        raise UnprocessableEntity(f'Invalid dtype "{dtype}": {error}') from None


def _fits(declared: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Tell whether a shape is the declared one; -1 is any length."""
    return len(declared) == len(shape) and all(wanted in (-1, length) for wanted, length in zip(declared, shape))
