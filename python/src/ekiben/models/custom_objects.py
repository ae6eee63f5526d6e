"""``custom_objects.pkl``: Python objects saved next to a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


def write_custom_objects(path: Path, objects: dict[str, Any]) -> None:
    """Write the objects into a model's directory."""
    import cloudpickle

    with (path / CUSTOM_OBJECTS).open("wb") as stream:
        cloudpickle.dump(objects, stream)


@contextmanager
def pickled_by_value(modules: list[ModuleType]) -> Iterator[None]:
    """Make cloudpickle take what it finds in ``modules`` into its pickles, instead of their names."""
    if not modules:
        yield
        return
    import cloudpickle

    known = cloudpickle.list_registry_pickle_by_value()
    registered = [module for module in modules if module.__name__ not in known]
    for module in registered:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)
