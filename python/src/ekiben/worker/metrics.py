"""The user's own metrics, in the Prometheus text format."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any


def has_user_metrics(service_class: type) -> bool:
    """Tell whether user code can have made metrics."""
    return "prometheus_client" in sys.modules or hasattr(service_class, "__metrics__")


def user_metrics() -> str:
    """Return the series of the default registry without those about the process: the front measures that itself."""
    if "prometheus_client" not in sys.modules:
        return ""
    from prometheus_client import generate_latest

    return generate_latest(_UserRegistry()).decode("utf-8")  # type: ignore[arg-type]


class _UserRegistry:
    """The default registry without the collectors that prometheus_client itself puts there."""

    def collect(self) -> Iterator[Any]:
        from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, REGISTRY

        own = {
            metric.name for part in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR) for metric in part.collect()
        }
        return (metric for metric in REGISTRY.collect() if metric.name not in own)
