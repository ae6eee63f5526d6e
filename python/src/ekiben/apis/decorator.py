"""``@bentoml.api`` and ``@bentoml.task``."""

from __future__ import annotations

from typing import Any, Callable

from .method import APIMethod


def api(
    func: Callable[..., Any] | None = None,
    *,
    route: str | None = None,
    name: str | None = None,  # noqa: ARG001 (upstream takes and ignores it)
    input_spec: type | None = None,
    output_spec: type | None = None,
    batchable: bool = False,
    batch_dim: int | tuple[int, int] = 0,
    max_batch_size: int = 100,
    max_latency_ms: int = 60000,
) -> Any:
    """Make a method of a service callable by clients. Used plain, or with arguments.

    ``name`` is accepted and has no effect, as upstream.
    """
    options = {
        "route": route,
        "input_spec": input_spec,
        "output_spec": output_spec,
        "batchable": batchable,
        "batch_dim": batch_dim,
        "max_batch_size": max_batch_size,
        "max_latency_ms": max_latency_ms,
    }
    return _decorate(func, options)


def task(
    func: Callable[..., Any] | None = None,
    *,
    name: str | None = None,  # noqa: ARG001 (upstream takes and ignores it)
    **options: Any,
) -> Any:
    """Make a method callable by clients at once, or as a task: submitted now, its result asked for later."""
    return _decorate(func, {**options, "is_task": True})


def _decorate(func: Callable[..., Any] | None, options: dict[str, Any]) -> Any:
    def decorate(func: Callable[..., Any]) -> APIMethod:
        if func.__name__.startswith("__"):
            raise ValueError("API methods cannot start with '__'")
        method = APIMethod(func, **options)
        if method.is_task and method.is_stream:
            raise ValueError("Async task cannot return a stream.")
        return method

    return decorate if func is None else decorate(func)
