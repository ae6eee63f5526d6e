"""``bentoml.legacy``: the runner model, where upstream 1.4 has it. Its services are functions instead of a class."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..unsupported import NotSupportedYet

# name -> "module:attribute"; loaded when first asked for, as every worker imports this package.
ATTRIBUTES = {
    "HTTPServer": "ekiben.servers.legacy:HTTPServer",
    "Resource": "ekiben.runners.strategy:Resource",
    "Runnable": "ekiben.runners.runnable:Runnable",
    "Runner": "ekiben.runners.runner:Runner",
    "Service": "ekiben.legacy.service:Service",
    "Strategy": "ekiben.runners.strategy:Strategy",
}

__all__ = list(ATTRIBUTES)

# What upstream has here and the SDK has not yet.
UNSUPPORTED = frozenset({"GrpcServer"})


def __getattr__(name: str) -> Any:
    if name in ATTRIBUTES:
        module, _, attribute = ATTRIBUTES[name].partition(":")
        return getattr(import_module(module), attribute)
    if name in UNSUPPORTED:
        # No `AttributeError`, which `from bentoml.legacy import GrpcServer` would not show.
        raise NotSupportedYet(f"bentoml.legacy.{name}")
    raise AttributeError(f"module bentoml.legacy has no attribute {name}")
