"""What a worker tells the front about its service before constructing it."""

from __future__ import annotations

import os
from typing import Any

from ..exceptions import BentoMLConfigException, BentoMLException
from ..io.schema import json_document
from ..models.references import BentoModel, ModelReference
from ..services.service import Service
from ..unsupported import NotSupportedYet
from .frames import PROTOCOL
from .metrics import has_user_metrics

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
            "slots": ASYNC_SLOTS if service.has_async_api else service.threads,
            "endpoints": [_endpoint(method) for method in service.apis.values()],
            "models": [_exact_name(reference) for reference in service.models],
            "schema": service.schema(),
            "openapi": service.openapi_spec(bento_version),
            "user_metrics": has_user_metrics(service.inner),
        },
    }


def refuse_unsupported(service: Service) -> None:
    """Raise for what the class uses and ekiben cannot serve yet."""
    name = service.name
    if service.dependencies:
        attribute = next(iter(service.dependencies))
        raise NotSupportedYet("bentoml.depends", f"attribute `{attribute}` of service `{name}`")
    if service.mount_apps:
        raise NotSupportedYet("bentoml.asgi_app", f"mounted at `{service.mount_apps[0][1]}` of service `{name}`")
    if service.middlewares:
        raise NotSupportedYet("Service.add_asgi_middleware", f"in service `{name}`")
    if service.cmd is not None or hasattr(service.inner, "__command__"):
        raise NotSupportedYet("bentoml.service(cmd=...)", f"custom command of service `{name}`")


def apply_envs(service: Service) -> None:
    """Set the environment variables that the service declares; what is set already wins."""
    for env in service.envs:
        name, value = env["name"], env.get("value")
        if env.get("stage", "all") == "build" or name in os.environ:
            continue
        if not value:
            raise BentoMLConfigException(f"Environment variable '{name}' is required but not set")
        os.environ[name] = str(value)


def _endpoint(method: Any) -> dict[str, Any]:
    return {
        "name": method.name,
        "route": method.route,
        "is_task": method.is_task,
        "is_stream": method.is_stream,
        "batchable": method.batchable,
        "batch_dim": list(method.batch_dim),
        "max_batch_size": method.max_batch_size,
        "max_latency_ms": method.max_latency_ms,
    }


def _exact_name(reference: ModelReference) -> str:
    """Return the exact tag of a stored model; one that is missing is reported when models are resolved."""
    if isinstance(reference, BentoModel):
        try:
            return str(reference.resolve().tag)
        except BentoMLException:
            return str(reference)
    return str(reference)
