"""``bentoml.legacy``: the names of the runner model, where upstream 1.4 has them."""

from __future__ import annotations

from .runners.runnable import Runnable
from .runners.runner import Runner
from .unsupported import NotSupportedYet

__all__ = ["Runnable", "Runner"]

# What upstream has here and the SDK has not yet.
UNSUPPORTED = frozenset({"GrpcServer", "HTTPServer", "Resource", "Service", "Strategy"})


def __getattr__(name: str) -> object:
    if name in UNSUPPORTED:
        # No `AttributeError`, which `from bentoml.legacy import Service` would not show.
        raise NotSupportedYet(f"bentoml.legacy.{name}")
    raise AttributeError(f"module bentoml.legacy has no attribute {name}")
