"""The document ``/docs.json`` of an old-style service: OpenAPI 3.0.2."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..apis.openapi import APP_TAG, ERRORS, INFRA_TAG, REFERENCE, VERSION, error_schema, infrastructure_paths
from ..io.schema import json_document

if TYPE_CHECKING:
    from .api import InferenceAPI
    from .service import Service


def service_openapi(service: Service) -> dict[str, Any]:
    """Return what ``/docs.json`` says about a service."""
    return json_document(
        {
            "openapi": VERSION,
            "info": {
                "title": service.name,
                "version": "None" if service.bento is None else service.bento.version,
                "description": service.doc,
            },
            "paths": {
                **infrastructure_paths(),
                **{api.path: {"post": _operation(service, api)} for api in service.apis.values()},
            },
            "servers": [{"url": "."}],
            "tags": [APP_TAG, INFRA_TAG],
            "components": {"schemas": _components(service)},
        }
    )


def _operation(service: Service, api: InferenceAPI) -> dict[str, Any]:
    errors = {
        str(status.value): {
            "description": status.phrase,
            "content": {"application/json": {"schema": {"$ref": REFERENCE.format(model=name)}}},
        }
        for name, status in ERRORS.items()
    }
    return {
        "responses": {str(HTTPStatus.OK.value): api.output.openapi_responses(), **errors},
        "tags": [APP_TAG["name"]],
        "consumes": [api.input.mime_type],
        "produces": [api.output.mime_type],
        "x-bentoml-name": api.name,
        "summary": str(api),
        "description": api.doc or "",
        "requestBody": api.input.openapi_request_body(),
        "operationId": f"{service.name}__{api.name}",
    }


def _components(service: Service) -> dict[str, Any]:
    components: dict[str, Any] = {}
    for api in service.apis.values():
        components.update({**api.input.openapi_components(), **api.output.openapi_components()})
    return {**components, **{name: error_schema(name, status) for name, status in ERRORS.items()}}
