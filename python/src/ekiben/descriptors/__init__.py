"""The descriptors of the runner model, which ``bentoml.io`` gives: what old-style APIs take and return.

To add a descriptor: its file here, and its line in ``DESCRIPTORS``. A file imports the library of its values (NumPy,
pandas, Pillow) when its descriptor is made or used, never before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..exceptions import InvalidArgument

if TYPE_CHECKING:
    from .base import IODescriptor

# What the id of a descriptor begins with, in specifications and in /docs.json.
PREFIX = "bentoml.io."

# name below `bentoml.io` -> the file that has it
DESCRIPTORS = {
    "File": "file",
    "Image": "image",
    "JSON": "json",
    "Multipart": "multipart",
    "NumpyNdarray": "numpy",
    "PandasDataFrame": "dataframe",
    "PandasSeries": "series",
    "Text": "text",
}


def load(name: str) -> type[IODescriptor]:
    """Return the class of the descriptor ``bentoml.io.<name>``."""
    return getattr(import_module(f"{__name__}.{DESCRIPTORS[name]}"), name)


def from_spec(spec: dict[str, Any]) -> IODescriptor:
    """Make the descriptor that ``to_spec`` has described."""
    if "id" not in spec:
        raise InvalidArgument(f"IO descriptor spec ({spec}) missing ID.")
    if spec["id"] is None:
        raise InvalidArgument("No IO descriptor spec found.")
    name = str(spec["id"]).removeprefix(PREFIX)
    if name not in DESCRIPTORS or f"{PREFIX}{name}" != spec["id"]:
        raise InvalidArgument(f"no IO descriptor has the ID `{spec['id']}`")
    return load(name).from_spec(spec)
