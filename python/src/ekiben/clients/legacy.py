"""``bentoml.client``: the older clients, of services whose APIs are functions.

They read ``/docs.json``, where such a service says which descriptors of ``bentoml.io`` its APIs have.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from ..descriptors import from_spec
from ..descriptors.base import Content, Encoded, IODescriptor
from ..exceptions import BentoMLException, RemoteException
from ..unsupported import NotSupportedYet
from .transport.asynchronous import AsyncPool
from .transport.blocking import BlockingPool
from .transport.errors import ConnectionFailed, RequestTimedOut
from .transport.messages import Body, Request, Response
from .transport.origin import parse_url, safe_url

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AsyncClient", "AsyncHTTPClient", "Client", "HTTPClient", "SyncClient", "SyncHTTPClient"]

TIMEOUT = 300.0
DESCRIPTOR = "x-bentoml-io-descriptor"
# The tag of operations that are APIs.
TAG = "Service APIs"
UNSUPPORTED = frozenset({"AsyncGrpcClient", "GrpcClient", "SyncGrpcClient"})


class _API:
    """An API as ``/docs.json`` describes it."""

    def __init__(self, route: str, operation: dict[str, Any], url: str):
        try:
            self.name = operation["x-bentoml-name"]
            self.input: IODescriptor = from_spec(operation["requestBody"][DESCRIPTOR])
            self.output: IODescriptor = from_spec(operation["responses"]["200"][DESCRIPTOR])
        except KeyError:
            raise BentoMLException(
                f"Malformed BentoML spec received from BentoML server {url}: for a service of a class, use "
                "`bentoml.SyncHTTPClient`"
            ) from None
        self.route = route
        self.multi_input = hasattr(self.input, "parts")

    def request(self, base: str, value: Any, inputs: dict[str, Any]) -> Request:
        """Return the request of a call."""
        inputs = {name: given for name, given in inputs.items() if not name.startswith("_grpc_")}
        if self.multi_input and value is not None:
            raise BentoMLException(
                f"'{self.name}' takes multiple inputs; all inputs must be passed as keyword arguments."
            )
        if not self.multi_input and inputs:
            raise TypeError(f"'{self.name}' takes one input, not `{next(iter(inputs))}`")
        encoded: Encoded = self.input.encode(inputs if self.multi_input else value)
        return Request("POST", base + self.route, list(encoded.headers), Body(encoded.body))

    def value(self, response: Response) -> Any:
        """Return the value of an answer."""
        if response.status_code != 200:
            raise BentoMLException(f"Error making request: {response.status_code}: {response.content!r}")
        return self.output.decode(Content(response.content, response.headers))


class _Base:
    """What all of these clients have: a server, and the APIs of its service."""

    def __init__(self, apis: dict[str, _API], server_url: str):
        if not apis:
            raise BentoMLException("No APIs were found when constructing client.")
        self.server_url = safe_url(server_url)
        self.endpoints = list(apis)
        self._apis = apis
        self._origin, self._base = parse_url(server_url)

    def _api(self, name: str) -> _API:
        try:
            return self._apis[name]
        except KeyError:
            raise BentoMLException(f"the service at {self.server_url} has no API `{name}`") from None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.server_url!r})"


class SyncClient(_Base):
    """A client with an attribute for every API; each takes one argument, or several by name."""

    def __init__(self, apis: dict[str, _API], server_url: str):
        super().__init__(apis, server_url)
        self._pool = BlockingPool(self._origin, [], TIMEOUT)
        _name(self, "", self.call)

    def call(self, bentoml_api_name: str, inp: Any = None, **inputs: Any) -> Any:
        """Call an API by its name."""
        api = self._api(bentoml_api_name)
        return api.value(self._pool.send(api.request(self._base, inp, inputs)))

    def health(self) -> Response:
        """Ask whether the server is ready."""
        return self._pool.send(Request("GET", f"{self._base}/readyz"))

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    @classmethod
    def from_url(cls, server_url: str, *, kind: str | None = None, **_: Any) -> Self:
        """Make a client of the service at a URL."""
        _check_kind(kind)
        url = _with_scheme(server_url)
        return cls(_described(url), url)

    @staticmethod
    def wait_until_server_ready(host: str, port: int, timeout: float = 30, check_interval: float = 1, **_: Any) -> None:
        """Return when a server takes calls; ``TimeoutError`` when it does not become ready."""
        pool = BlockingPool(parse_url(f"{_with_scheme(host)}:{port}")[0], [], max(timeout, 0.1))
        end = time.monotonic() + timeout
        while True:
            try:
                if pool.send(Request("GET", "/readyz")).status_code == 200:
                    return pool.close()
            except (ConnectionFailed, RequestTimedOut):
                pass
            if time.monotonic() >= end:
                raise TimeoutError(f"Timed out waiting {timeout} seconds for server at '{host}:{port}' to be ready.")
            time.sleep(min(check_interval, 0.1))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Base):
    """A client for event loops, with an attribute for every API."""

    def __init__(self, apis: dict[str, _API], server_url: str):
        super().__init__(apis, server_url)
        self._pool = AsyncPool(self._origin, [], TIMEOUT)
        _name(self, "", self.call)

    async def call(self, bentoml_api_name: str, inp: Any = None, **inputs: Any) -> Any:
        """Call an API by its name."""
        api = self._api(bentoml_api_name)
        return api.value(await self._pool.send(api.request(self._base, inp, inputs)))

    async def health(self) -> Response:
        """Ask whether the server is ready."""
        return await self._pool.send(Request("GET", f"{self._base}/readyz"))

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()

    @classmethod
    async def from_url(cls, server_url: str, *, kind: str | None = None, **_: Any) -> Self:
        """Make a client of the service at a URL."""
        _check_kind(kind)
        url = _with_scheme(server_url)
        return cls(await asyncio.to_thread(_described, url), url)

    @staticmethod
    def wait_until_server_ready(
        host: str, port: int, timeout: float = 30, check_interval: float = 1, **_: Any
    ) -> Awaitable[None]:
        """Return when a server takes calls; ``TimeoutError`` when it does not become ready."""
        return asyncio.to_thread(SyncClient.wait_until_server_ready, host, port, timeout, check_interval)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Client(SyncClient):
    """Both in one: an API ``classify`` is also the coroutine function ``async_classify``."""

    def __init__(self, apis: dict[str, _API], server_url: str):
        super().__init__(apis, server_url)
        self._async_client = AsyncClient(apis, server_url)
        _name(self, "async_", self.async_call)

    async def async_call(self, bentoml_api_name: str, inp: Any = None, **inputs: Any) -> Any:
        """Call an API by its name, from an event loop."""
        return await self._async_client.call(bentoml_api_name, inp, **inputs)

    async_wait_until_server_ready = staticmethod(AsyncClient.wait_until_server_ready)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._async_client.close()


class HTTPClient(Client):
    """A client over HTTP."""


class SyncHTTPClient(SyncClient):
    """A synchronous client over HTTP."""


class AsyncHTTPClient(AsyncClient):
    """An asynchronous client over HTTP."""


def is_legacy(url: str) -> bool:
    """Tell whether the service at a URL is one of functions, which have no ``/schema.json``."""
    origin, base = parse_url(url)
    pool = BlockingPool(origin, [], TIMEOUT)
    try:
        return pool.send(Request("GET", f"{base}/schema.json")).status_code == 404
    finally:
        pool.close()


def _described(url: str) -> dict[str, _API]:
    """Read the APIs of a service."""
    origin, base = parse_url(url)
    pool = BlockingPool(origin, [], TIMEOUT)
    try:
        response = pool.send(Request("GET", f"{base}/docs.json"))
    finally:
        pool.close()
    if response.status_code != 200:
        raise RemoteException(
            f"Failed to get OpenAPI schema from the server: {response.status_code} {response.reason_phrase}:\n"
            f"{response.content!r}"
        )
    apis = [
        _API(route, operation, safe_url(url))
        for route, operations in response.json()["paths"].items()
        for operation in operations.values()
        if TAG in operation.get("tags", ())
    ]
    return {api.name: api for api in apis}


def _name(client: Any, prefix: str, call: Any) -> None:
    """Make an attribute of every API whose name is not taken."""
    for name in client.endpoints:
        if not hasattr(client, f"{prefix}{name}"):
            setattr(client, f"{prefix}{name}", functools.partial(call, name))


def _check_kind(kind: str | None) -> None:
    if kind == "grpc":
        raise NotSupportedYet("bentoml.client.Client.from_url(kind='grpc')")
    if kind not in (None, "auto", "http"):
        raise BentoMLException(f"Invalid client kind '{kind}'. Must be one of 'http', 'grpc', or 'auto'.")


def _with_scheme(url: str) -> str:
    return url if "://" in url else f"http://{url}"


def __getattr__(name: str) -> Any:
    if name in UNSUPPORTED:
        # No `AttributeError`, which `from bentoml.client import GrpcClient` would not show.
        raise NotSupportedYet(f"bentoml.client.{name}")
    raise AttributeError(f"module bentoml.client has no attribute {name}")
