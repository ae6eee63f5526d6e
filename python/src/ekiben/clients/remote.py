"""``RemoteService``: a dependency at a URL, with the clients of both styles."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..exceptions import BentoMLException
from .asynchronous import AsyncHTTPClient
from .blocking import SyncHTTPClient

if TYPE_CHECKING:
    from ..services.service import Service

# A call may take as long as the service lets it, and a little for the way.
TIMEOUT = 60.0
MARGIN = 1.01


class RemoteService:
    """A service that runs elsewhere.

    ``to_sync`` and ``to_async`` are its clients. Where the service's class is known, too (``depends(Other, url=…)``),
    its APIs are attributes in the calling style of each, as they are of a dependency that runs beside this service.
    """

    def __init__(self, url: str, service: Service | None = None):
        self._url = url
        self._service = service

    @cached_property
    def to_sync(self) -> SyncHTTPClient:
        """The client for threads; the first use asks the server for its schema."""
        client = SyncHTTPClient(self._url, timeout=self._timeout, server_ready_timeout=0, service=self._service)
        client.unwraps_errors = True
        return client

    @cached_property
    def to_async(self) -> AsyncHTTPClient:
        """The client for the event loop."""
        client = AsyncHTTPClient(self._url, timeout=self._timeout, server_ready_timeout=0, service=self._service)
        client.unwraps_errors = True
        client._set_up(self.to_sync.endpoints)
        return client

    @property
    def client_url(self) -> str:
        """Where the service is."""
        return self.to_sync.url

    async def is_ready(self, timeout: float | None = None) -> bool:
        """Tell whether the service takes calls."""
        return await self.to_async.is_ready(timeout)

    async def close(self) -> None:
        """Close the connections."""
        self.to_sync.close()
        await self.to_async.close()

    @property
    def _timeout(self) -> float:
        config = self._service.config if self._service is not None else {}
        return float((config.get("traffic") or {}).get("timeout") or TIMEOUT) * MARGIN

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._service is None:
            raise BentoMLException(
                f"cannot call `{name}` of the service at {self.client_url}: use `.to_async.{name}` or "
                f"`.to_sync.{name}`, or name its class in `bentoml.depends`"
            )
        method = self._service.apis.get(name)
        if method is None:
            raise BentoMLException(f"calling non-api method {name} is not allowed")
        return getattr(self.to_async if method.is_async else self.to_sync, name)

    def __repr__(self) -> str:
        return f"RemoteService({self.to_sync.url!r})" if "to_sync" in vars(self) else "RemoteService(...)"
