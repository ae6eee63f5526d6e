"""The service instance that this process serves."""

from __future__ import annotations

from typing import Any

_current: Any = None


def get_current_service() -> Any:
    """Return the instance being served, or None outside a worker."""
    return _current


def set_current_service(instance: Any) -> None:
    """Make ``instance`` the one that ``get_current_service`` returns."""
    global _current
    _current = instance
