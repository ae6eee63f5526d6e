"""``ServiceProxy``: a dependency in other workers, with an attribute for each of its APIs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any, Callable

from ..apis.arguments import checked
from ..exceptions import BentoMLException

if TYPE_CHECKING:
    from ..apis.method import APIMethod
    from ..services.service import Service
    from .invocations import Invocations


class ServiceProxy:
    """The APIs of a service in the calling style of each; ``to_sync`` and ``to_async`` have all in one."""

    def __init__(self, service: Service, invocations: Invocations, style: str | None = None):
        self._service = service
        self._invocations = invocations
        self._style = style
        for name, method in service.apis.items():
            is_async = method.is_async if style is None else style == "async"
            setattr(self, name, self._caller(method, is_async))
        if style is None:
            self.to_sync = ServiceProxy(service, invocations, "sync")
            self.to_async = ServiceProxy(service, invocations, "async")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise BentoMLException(f"calling non-api method {name} is not allowed")

    def _caller(self, method: APIMethod, is_async: bool) -> Callable[..., Any]:
        unit, calls = f"service:{self._service.name}", self._invocations

        def run(*args: Any, **kwargs: Any) -> Any:
            return calls.call(unit, method.name, checked(method, args, kwargs))

        async def run_async(*args: Any, **kwargs: Any) -> Any:
            return await calls.call_async(unit, method.name, checked(method, args, kwargs))

        def iterate(*args: Any, **kwargs: Any) -> Iterator[Any]:
            for piece in calls.stream(unit, method.name, checked(method, args, kwargs)):
                yield piece.decode("utf-8")

        async def iterate_async(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
            async for piece in calls.stream_async(unit, method.name, checked(method, args, kwargs)):
                yield piece.decode("utf-8")

        if method.is_stream:
            caller: Callable[..., Any] = iterate_async if is_async else iterate
        else:
            caller = run_async if is_async else run
        caller.__name__ = method.name
        caller.__doc__ = method.doc
        return caller
