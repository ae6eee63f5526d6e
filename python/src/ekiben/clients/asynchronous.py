"""``bentoml.AsyncHTTPClient``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, NoReturn

from ..exceptions import ServiceUnavailable
from .client import POLL_SECONDS, HTTPClient
from .endpoint import SCHEMA_PATH, Endpoint
from .results import Items, decode
from .tasks import AsyncTask, ResultStatus
from .transport.asynchronous import AsyncPool
from .transport.errors import ConnectionFailed, RequestTimedOut
from .transport.messages import Response

if TYPE_CHECKING:
    from ..services.service import Service


class AsyncHTTPClient(HTTPClient):
    """A client of a service for event loops. ``async with`` waits until the server is ready.

    The arguments are those of ``SyncHTTPClient``. Calls are coroutines, those of streams asynchronous generators.

    Example::

        async with bentoml.AsyncHTTPClient("http://localhost:3000") as client:
            print(await client.classify(input_series=[[5.9, 3, 5.1, 1.8]]))
            async for piece in client.stream(prompt="hello"):
                print(piece)
    """

    _is_set_up = False

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 30,
        server_ready_timeout: float | None = None,
        service: Service | None = None,
    ):
        super().__init__(url, token=token, timeout=timeout, server_ready_timeout=server_ready_timeout, service=service)
        self._pool = AsyncPool(self._origin, self._default_headers, timeout)

    async def __aenter__(self) -> AsyncHTTPClient:
        if not self._is_set_up:
            if self.server_ready_timeout is None or self.server_ready_timeout > 0:
                await self.wait_until_server_ready(self.server_ready_timeout)
            known = self._known_endpoints()
            if known is None:
                known = self._endpoints(await self._pool.send(self._schema_request()))
            self._set_up(known)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __getattr__(self, name: str) -> NoReturn:
        if not name.startswith("_") and not self._is_set_up:
            raise RuntimeError("Client is not set up yet, please use it as an async context manager")
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def _set_up(self, endpoints: dict[str, Endpoint]) -> None:
        super()._set_up(endpoints)
        self._is_set_up = True

    async def wait_until_server_ready(self, timeout: float | None = None) -> None:
        """Return when the server is ready; ``ServiceUnavailable`` when it does not become so."""
        timeout = self.timeout if timeout is None else timeout
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            try:
                if await self._is_ready(left):
                    return
            except (RequestTimedOut, ConnectionFailed):
                pass
            await asyncio.sleep(min(POLL_SECONDS, max(left, 0)))
        raise ServiceUnavailable(f"Server is not ready after {timeout} seconds")

    async def is_ready(self, timeout: float | None = None) -> bool:
        """Tell whether the server takes calls; one that is not there or silent for ``timeout`` seconds does not."""
        try:
            return await self._is_ready(timeout)
        except (RequestTimedOut, ConnectionFailed):
            return False

    async def _is_ready(self, timeout: float | None) -> bool:
        response = await self._pool.send(self._get(self._ready_path), timeout)
        if response.status_code == 404 and self._service is None:
            # The service has a prefix, before its health pages too, but never before its schema.
            response = await self._pool.send(self._get(SCHEMA_PATH), timeout)
        return response.status_code == 200

    async def request(self, method: str, url: str, **options: Any) -> Response:
        """Send any request; ``options`` are ``params``, ``headers``, ``content`` and ``json``, as in httpx."""
        return await self._pool.send(self._free_request(method, url, options))

    async def close(self) -> None:
        """Close the connections; a call opens them again."""
        await self._pool.close()

    async def _call(self, endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        response = await self._pool.send(self._post(endpoint, args, kwargs))
        return decode(endpoint, self._checked(response), self._downloads)

    async def _stream(
        self, endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        response, pieces = await self._pool.stream(self._post(endpoint, args, kwargs))
        try:
            self._checked(response)
            items = Items(endpoint.output)
            async for piece in pieces:
                for item in items.feed(piece):
                    yield item
            items.finish()
        finally:
            await pieces.aclose()

    async def _submit(self, endpoint: Endpoint, /, *args: Any, **kwargs: Any) -> AsyncTask:
        response = await self._pool.send(self._post(endpoint, args, kwargs, "/submit"))
        return AsyncTask(self._task_id(response), endpoint, self)

    async def _get_task_status(self, endpoint: Endpoint, /, task_id: str) -> ResultStatus:
        return self._status(await self._pool.send(self._task_request("GET", endpoint, "status", task_id)))

    async def _get_task_result(self, endpoint: Endpoint, /, task_id: str) -> Any:
        response = await self._pool.send(self._task_request("GET", endpoint, "get", task_id))
        return decode(endpoint, self._checked(response), self._downloads)

    async def _cancel_task(self, endpoint: Endpoint, /, task_id: str) -> None:
        self._checked(await self._pool.send(self._task_request("PUT", endpoint, "cancel", task_id)))

    async def _retry_task(self, endpoint: Endpoint, /, task_id: str) -> AsyncTask:
        response = await self._pool.send(self._task_request("POST", endpoint, "retry", task_id))
        return AsyncTask(self._task_id(response), endpoint, self)
