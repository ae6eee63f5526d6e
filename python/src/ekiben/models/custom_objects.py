"""``custom_objects.pkl``: Python objects saved next to a model."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

CUSTOM_OBJECTS = "custom_objects.pkl"


def read_custom_objects(path: Path) -> dict[str, Any]:
    """Return the objects in a model's directory; none when there is no file."""
    file = path / CUSTOM_OBJECTS
    if not file.is_file():
        return {}
    import cloudpickle

    with file.open("rb") as stream:
        objects = cloudpickle.load(stream)
    if not isinstance(objects, dict):
        raise ValueError("Invalid custom objects found.")
    return objects


def write_custom_objects(path: Path, objects: dict[str, Any], by_value: list[ModuleType]) -> None:
    """Write the objects, with what they use of the modules ``by_value`` inside the pickle."""
    import cloudpickle

    known = cloudpickle.list_registry_pickle_by_value()
    registered = [module for module in by_value if module.__name__ not in known]
    for module in registered:
        cloudpickle.register_pickle_by_value(module)
    try:
        with (path / CUSTOM_OBJECTS).open("wb") as stream:
            cloudpickle.dump(objects, stream)
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)
