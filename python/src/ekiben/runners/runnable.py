"""``Runnable``: a class whose marked methods can be called through a ``Runner``."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any, Callable

from ..exceptions import BentoMLException

# What the placement of workers is decided by before any instance is there, so that an instance cannot change it.
OF_THE_CLASS = ("SUPPORTED_RESOURCES", "SUPPORTS_CPU_MULTI_THREADING")
# What registers methods, which is of no use once there is an instance.
REGISTERING = ("add_method", "method")
# The attribute of a class that has its methods by name.
TABLE = "bentoml_runnable_methods__"


@dataclass
class RunnableMethodConfig:
    """How a method may be called."""

    batchable: bool = False
    # The dimension along which arguments are merged, and the one along which results are split.
    batch_dim: tuple[int, int] = (0, 0)
    # Kept for those who ask; nothing is compared with them.
    input_spec: Any = None
    output_spec: Any = None
    is_stream: bool = False


class RunnableMethod:
    """A method of a runnable class with its configuration."""

    def __init__(self, func: Callable[..., Any], config: RunnableMethodConfig):
        self.func = func
        self.config = config

    def __set_name__(self, owner: type[Runnable], name: str) -> None:
        # A table per class: a subclass adds nothing to the class that it extends.
        owner.bentoml_runnable_methods__ = {**(vars(owner).get(TABLE) or {}), name: self}

    def __get__(self, instance: Runnable | None, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self.func, instance)


class Runnable:
    """Base of what runners run. An instance is made once per worker; ``@Runnable.method`` marks what can be called."""

    SUPPORTED_RESOURCES: tuple[str, ...]
    SUPPORTS_CPU_MULTI_THREADING: bool

    bentoml_runnable_methods__: dict[str, RunnableMethod] | None = None

    def __init_subclass__(cls) -> None:
        tables = [vars(base).get(TABLE) or {} for base in reversed(cls.__mro__)]
        cls.bentoml_runnable_methods__ = {name: method for table in tables for name, method in table.items()} or None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OF_THE_CLASS:
            raise BentoMLException(
                f"{name} should not be set at runtime; the change will not be reflected in the scheduling strategy. "
                "Instead, create separate Runnables with different supported resource configurations."
            )
        super().__setattr__(name, value)

    def __getattribute__(self, name: str) -> Any:
        if name in REGISTERING:
            raise BentoMLException(
                f"{name} should not be used at runtime; instead, use {type(self).__name__}.{name} where you define "
                "the class."
            )
        return super().__getattribute__(name)

    @staticmethod
    def method(
        meth: Callable[..., Any] | None = None,
        *,
        batchable: bool = False,
        batch_dim: tuple[int, int] | int = 0,
        input_spec: Any = None,
        output_spec: Any = None,
    ) -> Any:
        """Mark a method; an integer ``batch_dim`` means both dimensions. A generator makes a streaming method."""

        def mark(function: Callable[..., Any]) -> RunnableMethod:
            config = RunnableMethodConfig(
                batchable=batchable,
                batch_dim=(batch_dim, batch_dim) if isinstance(batch_dim, int) else batch_dim,
                input_spec=input_spec,
                output_spec=output_spec,
                is_stream=inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function),
            )
            return RunnableMethod(function, config)

        return mark(meth) if callable(meth) else mark

    @classmethod
    def add_method(
        cls,
        method: Callable[..., Any],
        name: str,
        *,
        batchable: bool = False,
        batch_dim: tuple[int, int] | int = 0,
        input_spec: Any = None,
        output_spec: Any = None,
    ) -> None:
        """Add a function as a method, as if it had been marked inside of the class."""
        marked = Runnable.method(
            method, batchable=batchable, batch_dim=batch_dim, input_spec=input_spec, output_spec=output_spec
        )
        setattr(cls, name, marked)
        marked.__set_name__(cls, name)
