"""The ekiben SDK: what user code sees as ``bentoml``.

Everything loads on first use (see ``exports``): importing the package must stay cheap, because every worker and every
command pays for it.
"""

from __future__ import annotations

from . import exports as _exports
from .version import __version__

__all__ = ["__version__", *_exports.ATTRIBUTES, *_exports.MODULES]


def __getattr__(name: str) -> object:
    value = _exports.load(name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
