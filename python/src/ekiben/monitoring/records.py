"""``bentoml.monitor``: a block in which a request's values are logged."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from ..context import server_context
from ..exceptions import BentoMLConfigException
from ..services.current import get_current_service
from ..unsupported import NotSupportedYet
from .base import MonitorBase, SilentMonitor
from .files import DefaultMonitor
from .settings import monitoring_settings

# One for each name, for as long as the process lives.
_monitors: dict[str, MonitorBase] = {}


@contextlib.contextmanager
def monitor(
    name: str,
    monitor_class: type[MonitorBase] | str | None = None,
    monitor_options: dict[str, Any] | None = None,
) -> Iterator[MonitorBase]:
    """Collect what is logged in the block and export it at the end; a block that fails exports nothing.

    The class is ``default``, or a class or its name (``package.module.Class``); without one the configuration decides.
    """
    if name not in _monitors:
        _monitors[name] = _made(name, monitor_class, monitor_options)
    found = _monitors[name]
    found.start_record()
    try:
        yield found
    except BaseException:
        found.drop_record()
        raise
    found.stop_record()


def _made(name: str, kind: type[MonitorBase] | str | None, options: dict[str, Any] | None) -> MonitorBase:
    service = getattr(get_current_service(), "bento_service", None)
    settings = monitoring_settings(server_context.service_name, getattr(service, "config", {}))
    if not settings["enabled"]:
        return SilentMonitor(name)
    given = settings["options"] if options is None else options
    return _class(settings["type"] if kind is None else kind)(name, **given)


def _class(kind: Any) -> type[MonitorBase]:
    if isinstance(kind, type):
        return kind
    if kind in (None, "default"):
        return DefaultMonitor
    if kind == "otlp":
        raise NotSupportedYet("bentoml.monitor", "the type `otlp`")
    module, _, attribute = str(kind).rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise BentoMLConfigException(f"`monitoring.type` must be a class, but is `{kind}`: {error}") from error
