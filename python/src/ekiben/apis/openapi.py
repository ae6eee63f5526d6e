"""The document ``/docs.json``: OpenAPI 3.0.2."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..io.schema import flatten_shallow, json_document
from ..services.mounts import is_fastapi

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
# What the operations of a task answer, in the states that a task really has.
TASK_STATUS = {
    "title": "TaskStatusResponse",
    "type": "object",
    "required": ["task_id", "status", "created_at", "executed_at"],
    "properties": {
        "task_id": {"title": "Task Id", "type": "string"},
        "status": {
            "enum": ["in_progress", "completed", "failed", "canceled"],
            "title": "Status",
            "type": "string",
        },
        "created_at": {"title": "Created At", "type": "string"},
        "executed_at": {"anyOf": [{"type": "string"}, {"type": "null"}], "title": "Executed At"},
    },
}
TASK_ID = {"name": "task_id", "in": "query", "required": True, "schema": {"type": "string", "title": "Task ID"}}
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
    mounted = _mounted(service)
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
                **_api_paths(service),
                **mounted["paths"],
            },
            "servers": [{"url": "."}],
            "tags": [APP_TAG, INFRA_TAG],
            "components": {**mounted["components"], "schemas": {**mounted["schemas"], **_components(service)}},
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


def _mounted(service: Service) -> dict[str, dict[str, Any]]:
    """Return what applications of FastAPI say about themselves."""
    found: dict[str, dict[str, Any]] = {"paths": {}, "components": {}, "schemas": {}}
    for mount in service.mount_apps:
        if is_fastapi(mount.app):
            from fastapi.openapi.utils import get_openapi

            app = mount.app
            document = get_openapi(title=app.title, version=app.version, routes=app.routes)
            found["paths"].update({f"{mount.path}{path}": item for path, item in document["paths"].items()})
            components = document.get("components", {})
            found["schemas"].update(components.pop("schemas", {}))
            found["components"].update(components)
    return found


def _api_paths(service: Service) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for method in service.apis.values():
        route = service.full_route(method)
        result = {"description": "Successful Response", "content": _content(method.output_spec)}
        request = {"requestBody": {"content": _request_content(method.input_spec)}}
        operation = _operation(service, method.name, method.doc or "", result)
        paths[route] = {"post": {**operation, **request}}
        if method.is_task:
            paths.update(_task_paths(service, method, route, result, request))
    return paths


def _task_paths(
    service: Service, method: APIMethod, route: str, result: dict[str, Any], request: dict[str, Any]
) -> dict[str, Any]:
    status = {
        "description": "Successful Response",
        "content": {"application/json": {"schema": {"$ref": REFERENCE.format(model=TASK_STATUS["title"])}}},
    }
    name = method.name

    def operation(what: str, description: str, answer: dict[str, Any]) -> dict[str, Any]:
        return _operation(service, f"{name}_{what}", f"{description} {name}", answer)

    which = {"parameters": [TASK_ID]}
    return {
        f"{route}/status": {"get": {**operation("status", "Get status of task", status), **which}},
        f"{route}/get": {"get": {**operation("result", "Get result of task", result), **which}},
        f"{route}/submit": {"post": {**operation("submit", "Submit a new task of", status), **request}},
        f"{route}/retry": {"post": {**operation("retry", "Retry a task of", status), **which}},
        f"{route}/cancel": {"put": {**operation("cancel", "Cancel an in-progress task of", status), **which}},
    }


def _operation(service: Service, name: str, description: str, success: dict[str, Any]) -> dict[str, Any]:
    errors = {
        str(status.value): {
            "description": status.phrase,
            "content": {"application/json": {"schema": {"$ref": REFERENCE.format(model=model)}}},
        }
        for model, status in ERRORS.items()
    }
    return {
        "responses": {"200": success, **errors},
        "tags": [APP_TAG["name"]],
        "x-bentoml-name": name,
        "description": description,
        "operationId": f"{service.name}__{name}",
    }


def _request_content(spec: Any) -> dict[str, Any]:
    """Return the content of a request; parts of a form that are no files are JSON."""
    content = _content(spec)
    fields = spec.fields if spec.media_type == "multipart/form-data" else {}
    encoding = {name: {"contentType": "application/json"} for name, field in fields.items() if not field.is_file}
    if encoding:
        content[spec.media_type]["encoding"] = encoding
    return content


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
    if any(method.is_task for method in service.apis.values()):
        components["TaskStatusResponse"] = TASK_STATUS
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
