"""``RunnerHandle``: where the calls of a runner go. Whatever serves runners implements it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, NoReturn

from ..exceptions import StateException

if TYPE_CHECKING:
    from .method import RunnerMethod
    from .runner import Runner


class RunnerHandle(ABC):
    """Takes the calls of one runner; made with the runner by ``Runner.init_client``."""

    @abstractmethod
    def __init__(self, runner: Runner): ...

    @abstractmethod
    async def is_ready(self, timeout: int) -> bool:
        """Tell whether calls can be taken, within ``timeout`` seconds."""

    @abstractmethod
    def run_method(self, method: RunnerMethod, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method and wait for its result."""

    @abstractmethod
    async def async_run_method(self, method: RunnerMethod, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method without keeping the event loop."""

    @abstractmethod
    def async_stream_method(self, method: RunnerMethod, /, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """Call a streaming method."""

    def close(self) -> None:
        """Let go of what the handle has; no call comes after it. Nothing by default."""
        return


class UninitializedHandle(RunnerHandle):
    """The handle of a runner that nobody has made ready: every call says so."""

    def __init__(self, runner: Runner):
        self._runner = runner

    async def is_ready(self, timeout: int) -> bool:  # noqa: ARG002 (there is nothing to wait for)
        """Tell that there is nothing to wait for."""
        return True

    def run_method(self, method: RunnerMethod, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    async def async_run_method(self, method: RunnerMethod, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def async_stream_method(
        self,
        method: RunnerMethod,  # noqa: ARG002
        /,
        *args: Any,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> AsyncGenerator[Any, None]:
        """Refuse at the call, not at the first value."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StateException(
            f"Runner is not initialized. Make sure to include '{self._runner!r}' to your service definition."
        )
