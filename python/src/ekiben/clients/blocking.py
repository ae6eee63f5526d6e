"""``bentoml.SyncHTTPClient``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..exceptions import ServiceUnavailable
from .client import POLL_SECONDS, HTTPClient
from .endpoint import SCHEMA_PATH, Endpoint
from .results import Items, decode
from .tasks import ResultStatus, Task
from .transport.blocking import BlockingPool
from .transport.errors import ConnectionFailed, RequestTimedOut
from .transport.messages import Response

if TYPE_CHECKING:
    from ..services.service import Service


class SyncHTTPClient(HTTPClient):
    """A client of a service.

    The constructor waits until the server is ready: ``server_ready_timeout`` seconds, or as long as for a call; 0 does
    not wait. ``timeout`` is how long the server may be silent. ``token`` goes out as ``Authorization: Bearer``.

    Example::

        with bentoml.SyncHTTPClient("http://localhost:3000") as client:
            print(client.classify(input_series=[[5.9, 3, 5.1, 1.8]]))
    """

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
        self._pool = BlockingPool(self._origin, self._default_headers, timeout)
        if server_ready_timeout is None or server_ready_timeout > 0:
            self.wait_until_server_ready(server_ready_timeout)
        known = self._known_endpoints()
        self._set_up(self._endpoints(self._pool.send(self._schema_request())) if known is None else known)

    def wait_until_server_ready(self, timeout: float | None = None) -> None:
        """Return when the server is ready; ``ServiceUnavailable`` when it does not become so."""
        timeout = self.timeout if timeout is None else timeout
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            try:
                if self._is_ready(left):
                    return
            except (RequestTimedOut, ConnectionFailed):
                pass
            time.sleep(min(POLL_SECONDS, max(left, 0)))
        raise ServiceUnavailable(f"Server is not ready after {timeout} seconds")

    def is_ready(self, timeout: float | None = None) -> bool:
        """Tell whether the server takes calls; one that is not there or silent for ``timeout`` seconds does not."""
        try:
            return self._is_ready(timeout)
        except (RequestTimedOut, ConnectionFailed):
            return False

    def _is_ready(self, timeout: float | None) -> bool:
        response = self._pool.send(self._get(self._ready_path), timeout)
        if response.status_code == 404 and self._service is None:
            # The service has a prefix, before its health pages too, but never before its schema.
            response = self._pool.send(self._get(SCHEMA_PATH), timeout)
        return response.status_code == 200

    def request(self, method: str, url: str, **options: Any) -> Response:
        """Send any request; ``options`` are ``params``, ``headers``, ``content`` and ``json``, as in httpx."""
        return self._pool.send(self._free_request(method, url, options))

    def close(self) -> None:
        """Close the connections; a call opens them again."""
        self._pool.close()

    def __enter__(self) -> SyncHTTPClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        response = self._pool.send(self._post(endpoint, args, kwargs))
        return decode(endpoint, self._checked(response), self._downloads)

    def _stream(self, endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
        response, pieces = self._pool.stream(self._post(endpoint, args, kwargs))
        self._checked(response)
        items = Items(endpoint.output)
        for piece in pieces:
            yield from items.feed(piece)
        items.finish()

    def _submit(self, endpoint: Endpoint, /, *args: Any, **kwargs: Any) -> Task:
        response = self._pool.send(self._post(endpoint, args, kwargs, "/submit"))
        return Task(self._task_id(response), endpoint, self)

    def _get_task_status(self, endpoint: Endpoint, /, task_id: str) -> ResultStatus:
        return self._status(self._pool.send(self._task_request("GET", endpoint, "status", task_id)))

    def _get_task_result(self, endpoint: Endpoint, /, task_id: str) -> Any:
        response = self._pool.send(self._task_request("GET", endpoint, "get", task_id))
        return decode(endpoint, self._checked(response), self._downloads)

    def _cancel_task(self, endpoint: Endpoint, /, task_id: str) -> None:
        self._checked(self._pool.send(self._task_request("PUT", endpoint, "cancel", task_id)))

    def _retry_task(self, endpoint: Endpoint, /, task_id: str) -> Task:
        response = self._pool.send(self._task_request("POST", endpoint, "retry", task_id))
        return Task(self._task_id(response), endpoint, self)
