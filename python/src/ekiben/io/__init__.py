"""IO types: from annotations to values, from bytes to values and back.

``bentoml.io`` upstream is the module of the runner model's descriptors; asking for one explains that it is missing.
"""

from __future__ import annotations

from typing import NoReturn

DESCRIPTORS = frozenset(
    {"File", "Image", "JSON", "Multipart", "NumpyNdarray", "PandasDataFrame", "PandasSeries", "SSE", "Text"}
)


def __getattr__(name: str) -> NoReturn:
    if name in DESCRIPTORS:
        from ..unsupported import UnsupportedAttribute

        raise UnsupportedAttribute(f"bentoml.io.{name}")
    raise AttributeError(f"module {__name__} has no attribute {name}")
