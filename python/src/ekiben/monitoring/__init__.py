"""``bentoml.monitoring``: what goes into a model and comes out of it, written down for later.

A monitor is a class with ``export_schema`` and ``export_data``; the default one writes lines of JSON to files.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# name -> module; loaded when first asked for, as every worker imports this package.
ATTRIBUTES = {"DefaultMonitor": "files", "MonitorBase": "base", "monitor": "records"}

__all__ = list(ATTRIBUTES)


def __getattr__(name: str) -> Any:
    if name not in ATTRIBUTES:
        raise AttributeError(f"module bentoml.monitoring has no attribute {name}")
    return getattr(import_module(f"{__name__}.{ATTRIBUTES[name]}"), name)
