"""The document ``/docs.json``: OpenAPI 3.0.2."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..io.schema import flatten_shallow, json_document

if TYPE_CHECKING:
    from ..services.service import Service
    from .method import APIMethod

VERSION = "3.0.2"
REFERENCE = "#/components/schemas/{model}"
APP_TAG = {"name": "Service APIs", "description": "BentoML Service API endpoints for inference."}
INFRA_TAG = {"name": "Infrastructure", "description": "Common infrastructure endpoints for observability."}
INFRASTRUCTURE = {
    "/healthz": "Tells that the service is healthy. Deprecated in favour of <code>/livez</code>.",
    "/livez": "Answers <code>200</code> while the service is alive.",
    "/readyz": "Answers <code>200</code> when the service takes calls.",
    "/metrics": "Metrics of the service in the Prometheus text format.",
}
# The error answers every API has, by the name of their schema.
ERRORS = {
    "InvalidArgument": HTTPStatus.BAD_REQUEST,
    "NotFound": HTTPStatus.NOT_FOUND,
    "InternalServerError": HTTPStatus.INTERNAL_SERVER_ERROR,
}
# The members of a JSON schema that a request's or response's own schema keeps.
SCHEMA_MEMBERS = frozenset(
    """
    type title multipleOf maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern maxItems
    minItems uniqueItems prefixItems maxProperties minProperties required enum allOf oneOf anyOf items properties
    additionalProperties description format default nullable discriminator readOnly writeOnly externalDocs example
    deprecated root_input
    """.split()
)


def service_openapi(service: Service, bento_version: str | None = None) -> dict[str, Any]:
    """Return what ``/docs.json`` says about a service."""
    return json_document(
        {
            "openapi": VERSION,
            "info": {
                "title": service.name,
                "version": bento_version or "None",
                "description": service.doc,
            },
            "paths": {
                **infrastructure_paths(service.path_prefix),
                **{
                    service.full_route(method): {"post": _operation(service, method)}
                    for method in service.apis.values()
                },
            },
            "servers": [{"url": "."}],
            "tags": [APP_TAG, INFRA_TAG],
            "components": {"schemas": _components(service)},
        }
    )


def infrastructure_paths(prefix: str = "") -> dict[str, Any]:
    """Return the paths that every service has, whatever its style."""
    return {f"{prefix}{path}": _infrastructure(text) for path, text in INFRASTRUCTURE.items()}


def _infrastructure(description: str) -> dict[str, Any]:
    return {
        "get": {
            "responses": {"200": {"description": "Successful Response"}},
            "tags": [INFRA_TAG["name"]],
            "description": description,
        }
    }


def _operation(service: Service, method: APIMethod) -> dict[str, Any]:
    errors = {
        str(status.value): {
            "description": status.phrase,
            "content": {"application/json": {"schema": {"$ref": REFERENCE.format(model=name)}}},
        }
        for name, status in ERRORS.items()
    }
    success = {"description": "Successful Response", "content": _content(method.output_spec)}
    return {
        "responses": {"200": success, **errors},
        "tags": [APP_TAG["name"]],
        "x-bentoml-name": method.name,
        "description": method.doc or "",
        "requestBody": {"content": _content(method.input_spec)},
        "operationId": f"{service.name}__{method.name}",
    }


def _content(spec: Any) -> dict[str, Any]:
    schema = spec.openapi(ref_template=REFERENCE, mode="serialization")
    kept = {key: value for key, value in schema.items() if key in SCHEMA_MEMBERS}
    if "$ref" in schema:
        # Upstream drops the reference and leaves an empty schema.
        kept["$ref"] = schema["$ref"]
    return {spec.media_type: {"schema": flatten_shallow(kept)}}


def _components(service: Service) -> dict[str, Any]:
    components: dict[str, Any] = {}
    for method in service.apis.values():
        for spec in (method.input_spec, method.output_spec):
            components.update(_spec_components(method.name, spec))
    components.update({name: error_schema(name, status) for name, status in ERRORS.items()})
    return components


def _spec_components(api: str, spec: Any) -> dict[str, Any]:
    schema = spec.openapi(ref_template=REFERENCE)
    definitions = schema.pop("$defs", {})
    if spec.model is None:
        return definitions
    name = f"{api}__{spec.title}" if spec.title == "Input" else spec.title
    return {name: {**schema, "title": name}, **definitions}


def error_schema(name: str, status: HTTPStatus) -> dict[str, Any]:
    """Return the schema of an error's body."""
    return {
        "type": "object",
        "title": name,
        "required": ["error"],
        "properties": {
            "error": {"type": "string", "title": "Message"},
            "detail": {"type": "string", "title": "Error Detail"},
        },
        "description": status.phrase,
    }
