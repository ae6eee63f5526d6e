"""``APIMethod``: a method of a service that clients can call."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Callable

from .signature import context_parameter, read_input, read_output

if TYPE_CHECKING:
    from .signature import Input, Output


class APIMethod:
    """What ``@bentoml.api`` makes of a function. Its types are read when the service is described, not before."""

    def __init__(
        self,
        func: Callable[..., Any],
        *,
        route: str | None = None,
        input_spec: type | None = None,
        output_spec: type | None = None,
        batchable: bool = False,
        batch_dim: int | tuple[int, int] = 0,
        max_batch_size: int = 100,
        max_latency_ms: int = 60000,
        is_task: bool = False,
    ):
        route = f"/{func.__name__}" if route is None else route
        if not route.startswith("/"):
            raise ValueError("route must start with a leading slash")
        if max_batch_size < 1:
            raise ValueError("max_batch_size must be at least 1")
        self.func = func
        self.name = func.__name__
        self.route = route
        self.batchable = batchable
        self.batch_dim = batch_dim if isinstance(batch_dim, tuple) else (batch_dim, batch_dim)
        self.max_batch_size = max_batch_size
        self.max_latency_ms = max_latency_ms
        self.is_task = is_task
        self.doc = func.__doc__
        self.is_async = inspect.iscoroutinefunction(func) or inspect.isasyncgenfunction(func)
        self.is_stream = inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func)
        self._input_class = _checked_spec(input_spec)
        self._output_class = _checked_spec(output_spec)
        functools.update_wrapper(self, func, updated=())

    @functools.cached_property
    def ctx_param(self) -> str | None:
        """The parameter that takes the context, if there is one."""
        return context_parameter(self.func)

    @functools.cached_property
    def input_spec(self) -> Input:
        """What the API takes."""
        try:
            if self._input_class is not None:
                from ..io.descriptor import describe_model
                from ..io.inputs import ObjectInput

                return ObjectInput(describe_model(self._input_class))
            return read_input(self.func, self.ctx_param)
        except (ValueError, TypeError, NameError, SyntaxError) as error:
            raise TypeError(f"cannot read the input of API `{self.name}` from its parameters: {error}") from error

    @functools.cached_property
    def output_spec(self) -> Output:
        """What the API returns, or yields."""
        try:
            if self._output_class is not None:
                from ..io.outputs import STREAM_MEDIA_TYPE, ModelOutput

                output = ModelOutput(self._output_class)
                output.declare(STREAM_MEDIA_TYPE if self.is_stream else None)
                return output
            return read_output(self.func, self.is_stream)
        except (ValueError, TypeError, NameError, SyntaxError) as error:
            raise TypeError(f"cannot read the output of API `{self.name}` from its annotation: {error}") from error

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        return self.bind(instance)

    def bind(self, instance: Any) -> Callable[..., Any]:
        """Return the method of an instance, as it is called inside the process."""
        parameters = list(inspect.signature(self.func).parameters.values())[1:]

        @functools.wraps(self.func)
        def call(*args: Any, **kwargs: Any) -> Any:
            for position, parameter in enumerate(parameters):
                if position >= len(args) and parameter.name not in kwargs:
                    _use_field_default(parameter, kwargs)
            return self.func(instance, *args, **kwargs)

        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.local = call  # type: ignore[attr-defined]
        return call


def _use_field_default(parameter: inspect.Parameter, kwargs: dict[str, Any]) -> None:
    """Fill in the default of ``x: int = Field(default=1)``, which Python itself would take for the value."""
    default = parameter.default
    if type(default).__name__ != "FieldInfo" or default.is_required():
        return
    kwargs[parameter.name] = default.get_default(call_default_factory=True)


def _checked_spec(spec: Any) -> Any:
    if spec is None:
        return None
    from pydantic import BaseModel

    if not inspect.isclass(spec):
        raise ValueError(f"{spec} must be a class type")
    if not issubclass(spec, BaseModel):
        raise ValueError(f"{spec} is not a valid IODescriptor accepted type.")
    return spec
