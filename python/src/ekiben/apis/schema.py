"""The document ``/schema.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..io.schema import json_document

if TYPE_CHECKING:
    from ..services.service import Service
    from .method import APIMethod


def service_schema(service: Service) -> dict[str, Any]:
    """Return what ``/schema.json`` says about a service."""
    routes = [_route_schema(method, service.full_route(method)) for method in service.apis.values()]
    document = {
        "name": service.name,
        "type": "service",
        "routes": routes,
        "description": service.inner.__doc__,
        "paths": {
            **{route["route"]: {"mounted": False} for route in routes},
            **{path: {"mounted": True} for mount in service.mount_apps for path in mount.routes()},
        },
    }
    return json_document({key: value for key, value in document.items() if value is not None})


def _route_schema(method: APIMethod, route: str) -> dict[str, Any]:
    output = method.output_spec.schema()
    if method.is_stream:
        output["is_stream"] = True
    if method.output_spec.declared_media_type:
        output["media_type"] = method.output_spec.declared_media_type
    return {
        "name": method.name,
        "route": route,
        "batchable": method.batchable,
        "input": method.input_spec.schema(),
        "output": output,
        "is_task": method.is_task,
    }
