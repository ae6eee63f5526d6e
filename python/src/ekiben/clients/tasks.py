"""Tasks that a client has submitted."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .asynchronous import AsyncHTTPClient
    from .blocking import SyncHTTPClient
    from .endpoint import Endpoint


class ResultStatus(enum.Enum):
    """How far a task is."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True)
class Task:
    """A task of a ``SyncHTTPClient``."""

    id: str
    endpoint: Endpoint = field(repr=False)
    client: SyncHTTPClient = field(repr=False)

    def get_status(self) -> ResultStatus:
        """Ask how far the task is."""
        return self.client._get_task_status(self.endpoint, self.id)

    def get(self) -> Any:
        """Return the result, or raise the error that the task ended with, or that of a task that has not ended."""
        return self.client._get_task_result(self.endpoint, self.id)

    def cancel(self) -> None:
        """Cancel the task."""
        self.client._cancel_task(self.endpoint, self.id)

    def retry(self) -> Task:
        """Submit the same task again."""
        return self.client._retry_task(self.endpoint, self.id)


@dataclass(frozen=True)
class AsyncTask:
    """A task of an ``AsyncHTTPClient``."""

    id: str
    endpoint: Endpoint = field(repr=False)
    client: AsyncHTTPClient = field(repr=False)

    async def get_status(self) -> ResultStatus:
        """Ask how far the task is."""
        return await self.client._get_task_status(self.endpoint, self.id)

    async def get(self) -> Any:
        """Return the result, or raise the error that the task ended with, or that of a task that has not ended."""
        return await self.client._get_task_result(self.endpoint, self.id)

    async def cancel(self) -> None:
        """Cancel the task."""
        await self.client._cancel_task(self.endpoint, self.id)

    async def retry(self) -> AsyncTask:
        """Submit the same task again."""
        return await self.client._retry_task(self.endpoint, self.id)
