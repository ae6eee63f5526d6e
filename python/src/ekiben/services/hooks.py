"""Life-cycle hooks: marks on methods, and finding them on a service's class."""

from __future__ import annotations

from typing import Any, Callable, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

# The marks are upstream's attribute names: libraries set them too.
STARTUP = "__bentoml_startup_hook__"
SHUTDOWN = "__bentoml_shutdown_hook__"
DEPLOYMENT = "__bentoml_deployment_hook__"


def on_startup(func: F) -> F:
    """Run the method in every worker after the service is constructed and before it takes calls."""
    setattr(func, STARTUP, True)
    return func


def on_shutdown(func: F) -> F:
    """Run the method in every worker when it stops."""
    setattr(func, SHUTDOWN, True)
    return func


def on_deployment(func: Any) -> staticmethod[..., Any]:
    """Run the function once before any worker starts; it becomes a static method."""
    inner = func.__func__ if isinstance(func, staticmethod) else func
    setattr(inner, DEPLOYMENT, True)
    return func if isinstance(func, staticmethod) else staticmethod(inner)


def find_hooks(cls: type, mark: str) -> list[str]:
    """Return the names of the hooks with ``mark``, in the order in which they run: alphabetical."""
    return [
        name
        for name in dir(cls)
        if not name.startswith("__") and callable(hook := getattr(cls, name)) and getattr(hook, mark, False)
    ]
