"""``bentoml.Strategy`` and ``bentoml.Resource``: how many workers a runner has, and in which environment each runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from ..exceptions import BentoMLException

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .runnable import Runnable
    from .runner import Runner


class Strategy(ABC):
    """Decides where a runner computes; given to ``Runner`` as ``scheduling_strategy``, as a class.

    ``resource_request`` is what the configuration says under ``runners.<name>.resources``, None where it says nothing;
    ``workers_per_resource`` is the setting of this name. Without a strategy of one's own, the front decides by devices
    and cores.
    """

    @classmethod
    @abstractmethod
    def get_worker_count(
        cls,
        runnable_class: type[Runnable],
        resource_request: dict[str, Any] | None,
        workers_per_resource: int | float,
    ) -> int:
        """Return how many workers there are."""

    @classmethod
    @abstractmethod
    def get_worker_env(
        cls,
        runnable_class: type[Runnable],
        resource_request: dict[str, Any] | None,
        workers_per_resource: int | float,
        worker_index: int,
    ) -> dict[str, Any]:
        """Return the variables of a worker; ``worker_index`` begins at 0."""


class Resource(ABC):
    """A kind of resource that strategies share out: ``class Tpu(Resource, resource_id="tpu")``."""

    # resource_id -> class
    registry: ClassVar[dict[str, type[Resource]]] = {}

    def __init_subclass__(cls, *, resource_id: str) -> None:
        Resource.registry[resource_id] = cls

    @classmethod
    @abstractmethod
    def from_spec(cls, spec: Any) -> Any:
        """Return the resource that the user's configuration names."""

    @classmethod
    @abstractmethod
    def from_system(cls) -> Any:
        """Return what the machine has of it."""

    @classmethod
    @abstractmethod
    def validate(cls, val: Any) -> None:
        """Raise when the machine has less than this."""


def scheduled_workers(runner: Runner, sections: Mapping[str, Any]) -> list[dict[str, str]] | None:
    """Return the variables of each worker as the runner's own strategy has them; None where it has none.

    ``sections`` is the configuration's section ``runners``: settings of all runners, and of each under its name.
    """
    strategy = runner.scheduling_strategy
    if strategy is None:
        return None
    own = sections.get(runner.name) or {}
    resources = own.get("resources", sections.get("resources"))
    each = own.get("workers_per_resource", sections.get("workers_per_resource", 1))
    count = strategy.get_worker_count(runner.runnable_class, resources, each)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise BentoMLException(
            f"strategy `{strategy.__name__}` of runner `{runner.name}` must give a number of workers above 0, not "
            f"{count!r}"
        )
    return [
        {
            name: str(value)
            for name, value in strategy.get_worker_env(runner.runnable_class, resources, each, index).items()
        }
        for index in range(count)
    ]
