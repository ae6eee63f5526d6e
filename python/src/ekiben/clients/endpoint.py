"""``Endpoint``: what a client knows of an API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..exceptions import BentoMLException

if TYPE_CHECKING:
    from ..apis.method import APIMethod
    from ..services.service import Service

SCHEMA_PATH = "/schema.json"


@dataclass(frozen=True)
class Endpoint:
    """An API by name, with the schemas of its input and output."""

    name: str
    route: str
    doc: str | None = None
    input: dict[str, Any] = field(default_factory=dict, repr=False)
    output: dict[str, Any] = field(default_factory=dict, repr=False)
    stream_output: bool = False
    is_task: bool = False
    # The API itself, where its code is at hand: its types are more exact than the schemas.
    method: APIMethod | None = field(default=None, repr=False)


def endpoints_of(document: Any, url: str) -> dict[str, Endpoint]:
    """Read a server's ``/schema.json``."""
    try:
        return {route["name"]: _endpoint(route) for route in document["routes"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise BentoMLException(f"the schema at {url} is not that of a service: {error!r}") from error


def endpoints_of_service(service: Service) -> dict[str, Endpoint]:
    """Return the endpoints of a service whose code is at hand."""
    found = {route["name"]: _endpoint(route) for route in service.schema()["routes"]}
    return {
        name: Endpoint(**{**vars(endpoint), "doc": service.apis[name].doc, "method": service.apis[name]})
        for name, endpoint in found.items()
    }


def _endpoint(route: dict[str, Any]) -> Endpoint:
    return Endpoint(
        name=route["name"],
        route=route["route"],
        doc=route.get("doc"),
        input=route["input"],
        output=route["output"],
        stream_output=bool(route["output"].get("is_stream", False)),
        is_task=bool(route.get("is_task", False)),
    )
