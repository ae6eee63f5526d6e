"""``bentoml.runner_service``: a runner of the older model as a service of today's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..apis.method import APIMethod
from .service import Service

if TYPE_CHECKING:
    from ..runners.runner import Runner


def runner_service(runner: Runner, **config: Any) -> Service:
    """Make a service with an API for every method of a runner, with the same batches; ``config`` is the service's."""
    from ..models.references import BentoModel
    from ..runners.runner import Runner

    if not isinstance(runner, Runner):
        raise ValueError(f"Expect an instance of Runner, but got {type(runner)}")
    runnable = runner.runnable_class
    params = runner.runnable_init_params
    members: dict[str, Any] = {"__init__": lambda self: runnable.__init__(self, **params)}
    for method in runner.runner_methods:
        members[method.name] = APIMethod(
            runner.runnable_methods[method.name].func,
            batchable=method.config.batchable,
            batch_dim=method.config.batch_dim,
            max_batch_size=method.max_batch_size,
            max_latency_ms=method.max_latency_ms,
        )
    inner = type(
        f"{runnable.__name__}Service", (runnable,), {**members, "__module__": sys._getframe(1).f_globals["__name__"]}
    )
    return Service(
        name=runner.name, config=config, inner=inner, models=[BentoModel(model.tag) for model in runner.models]
    )
