"""IO types: from annotations to values, from bytes to values and back.

As ``bentoml.io`` this is the module of the runner model's descriptors, each loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..descriptors import DESCRIPTORS, load

# What upstream has here besides the descriptors: name -> "module:attribute"
OTHERS = {
    "IODescriptor": "ekiben.descriptors.base:IODescriptor",
    "SSE": "ekiben.descriptors.sse:SSE",
    "from_spec": "ekiben.descriptors:from_spec",
}

__all__ = [*DESCRIPTORS, *OTHERS]


def __getattr__(name: str) -> Any:
    if name in DESCRIPTORS:
        return load(name)
    if name in OTHERS:
        module, _, attribute = OTHERS[name].partition(":")
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module {__name__} has no attribute {name}")
