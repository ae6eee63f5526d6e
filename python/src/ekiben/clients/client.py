"""``HTTPClient``: what both clients have in common, which is everything but waiting."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import quote, urlencode

from ..exceptions import BentoMLException, NotFound
from ..version import __version__
from .arguments import JSON, encode
from .endpoint import SCHEMA_PATH, Endpoint, endpoints_of, endpoints_of_service
from .results import Downloads
from .tasks import ResultStatus
from .transport.messages import Body, Pair, Request, Response, error_of
from .transport.origin import parse_url, safe_url

if TYPE_CHECKING:
    from ..services.service import Service

# What servers of the hosted cloud ask for.
TOKEN_VARIABLE = "BENTO_CLOUD_API_KEY"  # noqa: S105 (a name)
READY_PATH = "/readyz"
# Between two questions whether a server is ready.
POLL_SECONDS = 0.05
# What continues the trace of the request that a service is just answering.
TRACE_HEADERS = ("traceparent", "tracestate")
CALL = "__call__"


class HTTPClient:
    """A client of a service: an attribute for every API, and ``call(name, ...)``."""

    # Whether exceptions have the message alone. A service would tell its own client the whole body as a message.
    unwraps_errors = False

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 30,
        server_ready_timeout: float | None = None,
        service: Service | None = None,
    ):
        self._origin, self._base = parse_url(url)
        self.url = safe_url(url)
        self.timeout = timeout
        self.server_ready_timeout = server_ready_timeout
        self.endpoints: dict[str, Endpoint] = {}
        self._service = service
        self._downloads = Downloads()
        self._default_headers: list[Pair] = [
            ("user-agent", f"ekiben HTTP Client/{__version__}"),
            ("accept", "*/*"),
            ("accept-encoding", "identity"),
        ]
        token = os.environ.get(TOKEN_VARIABLE) if token is None else token
        authorization = f"Bearer {token}" if token else self._origin.authorization
        if authorization:
            self._default_headers.append(("authorization", authorization))
        if service is not None:
            self._default_headers += [("runner-name", service.name), *_bento_headers()]
            self._ready_path = service.config.get("endpoints", {}).get("readyz") or service.prefixed(READY_PATH)
        else:
            self._ready_path = READY_PATH

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call an API by its name, with its arguments."""
        endpoint = self.endpoints.get(name)
        if endpoint is None:
            raise NotFound(f"Endpoint {name} not found")
        return self._stream(endpoint, args, kwargs) if endpoint.stream_output else self._call(endpoint, args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the API of this name, where a service has one."""
        if CALL not in self.endpoints:
            raise TypeError("This service is not callable.")
        return self.call(CALL, *args, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _call(self, endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _stream(self, endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _submit(self, endpoint: Endpoint, /, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def _get_task_status(self, endpoint: Endpoint, /, task_id: str) -> Any:
        raise NotImplementedError

    def _get_task_result(self, endpoint: Endpoint, /, task_id: str) -> Any:
        raise NotImplementedError

    def _cancel_task(self, endpoint: Endpoint, /, task_id: str) -> Any:
        raise NotImplementedError

    def _retry_task(self, endpoint: Endpoint, /, task_id: str) -> Any:
        raise NotImplementedError

    def _set_up(self, endpoints: dict[str, Endpoint]) -> None:
        """Make the APIs attributes; one whose name is taken gets the prefix ``api_``."""
        self.endpoints = endpoints
        for name, endpoint in endpoints.items():
            if name != CALL:
                attribute = f"api_{name}" if hasattr(type(self), name) or name in vars(self) else name
                vars(self)[attribute] = self._method(endpoint)

    def _method(self, endpoint: Endpoint) -> Callable[..., Any]:
        def method(*args: Any, **kwargs: Any) -> Any:
            return self.call(endpoint.name, *args, **kwargs)

        method.__name__ = endpoint.name
        method.__doc__ = endpoint.doc
        if endpoint.is_task:
            operations = {
                "submit": self._submit,
                "get": self._get_task_result,
                "get_status": self._get_task_status,
                "cancel": self._cancel_task,
                "retry": self._retry_task,
            }
            vars(method).update({name: functools.partial(act, endpoint) for name, act in operations.items()})
        return method

    def _known_endpoints(self) -> dict[str, Endpoint] | None:
        """Return the endpoints where the code of the service is at hand."""
        return None if self._service is None else endpoints_of_service(self._service)

    def _schema_request(self) -> Request:
        return self._get(SCHEMA_PATH)

    def _endpoints(self, response: Response) -> dict[str, Endpoint]:
        """Read the answer to the question for the schema."""
        where = f"{self.url.rstrip('/')}{SCHEMA_PATH}"
        if response.is_error:
            raise BentoMLException(f"Failed to fetch schema from {where}: the server answered {response.status_code}")
        try:
            return endpoints_of(response.json(), where)
        except ValueError as error:
            raise BentoMLException(f"Failed to fetch schema from {where}: it is no JSON") from error

    def _get(self, path: str) -> Request:
        return Request("GET", self._base + path)

    def _post(self, endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any], suffix: str = "") -> Request:
        """Return the request of a call, or of a submission."""
        media_type, body = encode(endpoint, args, kwargs)
        target = self._base + quote(endpoint.route, safe="/%:@!$&'()*+,;=~-._") + suffix
        return Request("POST", target, [("content-type", media_type), *_trace()], body)

    def _task_request(self, method: str, endpoint: Endpoint, what: str, task_id: str) -> Request:
        query = urlencode({"task_id": task_id})
        return Request(method, f"{self._base}{endpoint.route}/{what}?{query}", _trace())

    def _free_request(self, method: str, url: str, options: dict[str, Any]) -> Request:
        """Return a request that the user has put together, with the arguments of httpx."""
        import json

        params, headers = options.pop("params", None), list(dict(options.pop("headers", None) or {}).items())
        content, data = options.pop("content", None), options.pop("json", None)
        if options:
            raise TypeError(f"request() has no argument {next(iter(options))!r}")
        if data is not None:
            content = json.dumps(data).encode("utf-8")
            headers = [("content-type", JSON), *headers]
        body = Body() if content is None else Body(content.encode("utf-8") if isinstance(content, str) else content)
        query = ("&" if "?" in url else "?") + urlencode(params) if params else ""
        path = url if url.startswith("/") else f"/{url}"
        return Request(method.upper(), self._base + path + query, [*_trace(), *headers], body)

    def _task_id(self, response: Response) -> str:
        return self._checked(response).json()["task_id"]

    def _status(self, response: Response) -> ResultStatus:
        return ResultStatus(self._checked(response).json()["status"])

    def _checked(self, response: Response) -> Response:
        """Raise the exception that an error status stands for; its message is the body, as in upstream."""
        if response.is_error:
            raise error_of(response.status_code, _message(response) if self.unwraps_errors else response.text)
        return response


def _message(response: Response) -> str:
    """Return what the body of an error says."""
    try:
        document = response.json()
        document = document[0] if isinstance(document, list) else document
        return str(document["error"])
    except (ValueError, LookupError, TypeError):
        return response.text


def _trace() -> list[Pair]:
    """Return the headers by which a call belongs to the request that is being answered."""
    from ..context import current_request

    request = current_request()
    return [] if request is None else [pair for pair in request.raw_headers if pair[0] in TRACE_HEADERS]


def _bento_headers() -> list[Pair]:
    """Return who calls: the bento that this process serves."""
    from ..context import server_context

    pairs = {"bento-name": server_context.bento_name, "bento-version": server_context.bento_version}
    return [(name, str(value)) for name, value in pairs.items() if value]
