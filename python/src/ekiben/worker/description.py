"""What a worker tells the front about its service before constructing it."""

from __future__ import annotations

import logging
import os
from typing import Any

from ..exceptions import BentoMLConfigException, BentoMLException
from ..io.schema import json_document
from ..models.references import BentoModel, ModelReference
from ..services.service import Service
from ..unsupported import NotSupportedYet
from .command import command_port
from .frames import PROTOCOL
from .metrics import has_user_metrics
from .mounts import describe_mounts
from .units import describe_units

logger = logging.getLogger("bentoml.serve")

# Asynchronous APIs share one loop; how many are at work is the front's limit, this is the worker's.
ASYNC_SLOTS = 256


def describe_frame(service: Service, import_string: str, bento_version: str | None) -> dict[str, Any]:
    """Return the ``describe`` frame of a service, or raise when it cannot be served."""
    refuse_unsupported(service)
    return {
        "type": "describe",
        "protocol": PROTOCOL,
        "service": {
            "name": service.name,
            "import_string": import_string,
            "description": service.description,
            "path_prefix": service.path_prefix,
            "config": json_document(service.config),
            "slots": slots_of(service),
            "endpoints": [*map(describe_endpoint, service.apis.values()), *describe_mounts(service)],
            "models": [_exact_name(reference) for reference in service.models],
            "schema": service.schema(),
            "openapi": service.openapi_spec(bento_version),
            "user_metrics": has_user_metrics(service.inner),
            "units": describe_units(service),
            "middlewares": bool(service.middlewares),
            "command": {"port": command_port(service)} if service.has_custom_command else None,
        },
    }


def describe_unit_frame(unit: Any) -> dict[str, Any]:
    """Return the ``describe`` frame of a unit: the front knows it already, and compares."""
    return {
        "type": "describe",
        "protocol": PROTOCOL,
        "service": {
            "name": unit.name,
            "import_string": "",
            "slots": slots_of(unit),
            "endpoints": [describe_endpoint(method) for method in unit.apis.values()],
        },
    }


def slots_of(service: Any) -> int:
    """Return how many calls a worker of a service or runner takes at a time."""
    has_applications = getattr(service, "mount_apps", None) or getattr(service, "middlewares", None)
    runs_on_loop = service.has_async_api or has_applications
    return ASYNC_SLOTS if runs_on_loop else service.threads


def refuse_unsupported(service: Service) -> None:
    """Raise for what the class uses and ekiben cannot serve yet."""
    for dependency in service.dependencies.values():
        if dependency.is_elsewhere:
            continue
        if dependency.on.has_custom_command:
            raise NotSupportedYet("bentoml.service(cmd=...)", f"custom command of `{dependency.on.name}`, a dependency")
        refuse_unsupported(dependency.on)


def apply_envs(service: Service) -> None:
    """Set the environment variables that the service declares; what is set already wins."""
    for env in service.envs:
        name, value = env["name"], env.get("value")
        if env.get("stage", "all") == "build" or name in os.environ:
            continue
        if not value:
            raise BentoMLConfigException(f"Environment variable '{name}' is required but not set")
        os.environ[name] = str(value)


def describe_endpoint(method: Any) -> dict[str, Any]:
    """Return an item of ``endpoints``."""
    return {
        "name": method.name,
        "route": method.route,
        "is_task": method.is_task,
        "is_stream": method.is_stream,
        "batchable": method.batchable,
        "batch_dim": list(method.batch_dim),
        "max_batch_size": method.max_batch_size,
        "max_latency_ms": method.max_latency_ms,
        "batch": _batch(method),
    }


def _batch(method: Any) -> dict[str, Any] | None:
    """Return how the front may merge calls; None when each is computed alone."""
    if not method.batchable or method.is_stream or method.is_task:
        return None
    if method.ctx_param is not None:
        logger.warning("calls of `%s` are not merged: it takes the context, which is that of one request", method.name)
        return None
    is_by_rows = tuple(method.batch_dim) == (0, 0)
    array = getattr(method.input_spec, "only_array", None) if is_by_rows else None
    return {"max_size": method.max_batch_size, "max_latency_ms": method.max_latency_ms, "array": array}


def _exact_name(reference: ModelReference) -> str:
    """Return the exact tag of a stored model; one that is missing is reported when models are resolved."""
    if isinstance(reference, BentoModel):
        try:
            return str(reference.resolve().tag)
        except BentoMLException:
            return str(reference)
    return str(reference)
