"""``Runner``: a runnable class with a name, its models and the limits of its batches."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any, NoReturn

from ..tag import validate_tag_str
from .handle import UninitializedHandle
from .method import RunnerMethod

if TYPE_CHECKING:
    from ..models.model import Model
    from .handle import RunnerHandle
    from .runnable import Runnable

logger = logging.getLogger(__name__)

# Upstream's defaults of `runners.batching` in its configuration.
MAX_BATCH_SIZE = 100
MAX_LATENCY_MS = 60_000

# The method that `runner.run` calls when there are several.
CALL = "__call__"


class Runner:
    """Calls the methods of a runnable class: ``runner.predict.run(x)``, or ``runner.run(x)`` for the only one.

    ``method_configs`` maps a method to its own ``max_batch_size`` and ``max_latency_ms``, which count before those of
    the runner. ``embedded`` asks for the runner to compute inside of the workers of the service.
    """

    if TYPE_CHECKING:  # the methods of the runnable are attributes

        def __getattr__(self, name: str) -> Any: ...

    def __init__(
        self,
        runnable_class: type[Runnable],
        *,
        runnable_init_params: dict[str, Any] | None = None,
        name: str | None = None,
        scheduling_strategy: type | None = None,
        models: list[Model] | None = None,
        max_batch_size: int | None = None,
        max_latency_ms: int | None = None,
        method_configs: dict[str, dict[str, int]] | None = None,
        embedded: bool = False,
    ):
        if name is None:
            name = runnable_class.__name__.lower()
            logger.warning("Using lowercased runnable class name '%s' for runner.", name)
        methods = runnable_class.bentoml_runnable_methods__
        if methods is None:
            raise ValueError(f"Runnable class '{runnable_class.__name__}' has no methods!")
        limits = {"max_batch_size": max_batch_size, "max_latency_ms": max_latency_ms}
        _set(
            self,
            name=_checked_name(name),
            models=_checked_models(models),
            runnable_class=runnable_class,
            runnable_init_params=dict(runnable_init_params or {}),
            runnable_methods=methods,
            scheduling_strategy=scheduling_strategy,
            embedded=embedded,
            handle=UninitializedHandle(self),
        )
        _set(self, runner_methods=self._make_methods(limits, method_configs or {}))
        self._name_methods()

    def _make_methods(
        self, limits: Mapping[str, int | None], configs: Mapping[str, Mapping[str, int]]
    ) -> list[RunnerMethod]:
        for unknown in sorted(set(configs) - set(self.runnable_methods)):
            logger.warning("runner `%s` has no method `%s`: its configuration is ignored", self.name, unknown)
        return [
            RunnerMethod(
                runner=self,
                name=name,
                config=method.config,
                doc=method.func.__doc__,
                max_batch_size=_limit("max_batch_size", configs.get(name), limits, MAX_BATCH_SIZE),
                max_latency_ms=_limit("max_latency_ms", configs.get(name), limits, MAX_LATENCY_MS),
                declared=frozenset(key for key in limits if _given(key, configs.get(name), limits) is not None),
            )
            for name, method in self.runnable_methods.items()
        ]

    def _name_methods(self) -> None:
        """Make an attribute of every method, and ``run`` and ``async_run`` of the one that is meant without a name."""
        named = {method.name: method for method in self.runner_methods}
        taken = sorted(name for name in named if name in vars(self) or name in OWN)
        if taken:
            raise ValueError(
                f"method `{taken[0]}` of runnable class `{self.runnable_class.__name__}` has the name of an attribute "
                "of every runner: rename it"
            )
        default = self.runner_methods[0] if len(named) == 1 else named.get(CALL)
        if default is not None:
            _set(self, run=default.run, async_run=default.async_run)
        _set(self, **named)

    def init_local(self, quiet: bool = False) -> None:
        """Make the runnable in this process, for tests and debugging; the warning that says so can be turned off."""
        from .local import LocalHandle

        if not quiet:
            logger.warning(
                "'Runner.init_local' is for debugging and testing only. Make sure to remove it before deploying to "
                "production."
            )
        try:
            self._take_handle(LocalHandle)
        except Exception:
            logger.exception("An exception occurred while instantiating runner '%s', see details below:", self.name)
            raise

    def init_client(self, handle_class: type[RunnerHandle] | None = None, *args: Any, **kwargs: Any) -> None:
        """Let a handle take the calls, made with the runner and these arguments."""
        if handle_class is None:
            from ..unsupported import NotSupportedYet

            raise NotSupportedYet("Runner.init_client", f"runner `{self.name}` can run in its own process only")
        self._take_handle(handle_class, *args, **kwargs)

    def destroy(self) -> None:
        """Let the runnable or the connection go; the runner can be initialised again."""
        handle = self.handle
        _set(self, handle=UninitializedHandle(self))
        handle.close()

    async def runner_handle_is_ready(self, timeout: int = 10) -> bool:
        """Tell whether calls can be taken, within ``timeout`` seconds."""
        return await self.handle.is_ready(timeout)

    def _take_handle(self, handle_class: type[RunnerHandle], *args: Any, **kwargs: Any) -> None:
        if not isinstance(self.handle, UninitializedHandle):
            from ..exceptions import StateException

            raise StateException("Runner already initialized")
        _set(self, handle=handle_class(self, *args, **kwargs))

    def __setattr__(self, name: str, value: Any) -> NoReturn:  # a runner does not change
        raise FrozenInstanceError("can't set attribute")

    def __repr__(self) -> str:
        return f"Runner(name={self.name!r}, runnable_class={self.runnable_class.__name__})"


# What every runner has, which no method may take the place of; `run` is the one name that has both meanings.
OWN = frozenset(name for name in vars(Runner) if not name.startswith("__"))


def _set(runner: Runner, **values: Any) -> None:
    vars(runner).update(values)


def _limit(key: str, config: Mapping[str, int] | None, limits: Mapping[str, int | None], default: int) -> int:
    """Return a limit: the method's, else the runner's, else the default."""
    given = _given(key, config, limits)
    return default if given is None else given


def _given(key: str, config: Mapping[str, int] | None, limits: Mapping[str, int | None]) -> int | None:
    own = (config or {}).get(key)
    return limits[key] if own is None else own


def _checked_name(name: str) -> str:
    lowered = name.lower()
    if lowered != name:
        logger.warning("Converting runner name '%s' to lowercase: '%s'", name, lowered)
    try:
        validate_tag_str(lowered)
    except ValueError as error:
        raise ValueError(f"Runner name '{lowered}' is not valid; it must be a valid BentoML Tag name.") from error
    return lowered


def _checked_models(models: list[Model] | None) -> list[Model]:
    from ..models.model import Model

    if models is None:
        return []
    if not isinstance(models, list):
        raise TypeError(f"'models' must be a list of models, not {models!r}")
    for model in models:
        if not isinstance(model, Model):
            raise TypeError(f"'models' must be a list of models: {model!r} is none")
    return list(models)
