"""What the configuration says of monitoring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SECTION = "monitoring"
DEFAULTS: dict[str, Any] = {"enabled": True, "type": "default", "options": {"log_path": "monitoring"}}

_sections: Mapping[str, Any] = {}


def set_sections(sections: Mapping[str, Any]) -> None:
    """Take the configuration from outside of the service: for all services, and for each under its name."""
    global _sections
    _sections = sections


def monitoring_settings(service: str | None, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return what holds for a service; its decorator's arguments count least."""
    own = _sections.get(service or "")
    merged = {**DEFAULTS, "options": dict(DEFAULTS["options"])}
    for layer in (declared.get(SECTION), _sections.get(SECTION), (own or {}).get(SECTION)):
        for key, value in (layer or {}).items():
            merged[key] = {**merged["options"], **(value or {})} if key == "options" else value
    return merged
