"""Adding a model to a store: staged beside it, made durable, then renamed into place under the lock of its name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..exceptions import BentoMLException
from .custom_objects import pickled_by_value, write_custom_objects
from .info import MODEL_YAML, ModelInfo
from .model import Model

if TYPE_CHECKING:
    from .store import ModelStore


@contextmanager
def write_model(
    store: ModelStore, info: ModelInfo, custom_objects: dict[str, Any] | None, by_value: list[ModuleType]
) -> Iterator[Model]:
    """Yield a model with an empty directory; when the block ends well, put it into the store.

    After that the model's ``path`` is its place in the store. Any exception, Ctrl-C included, leaves nothing behind.
    Inside of the block cloudpickle takes what it finds in the modules ``by_value`` into its pickles.
    """
    store.refuse_taken(info.tag)
    with store.stage(info.tag.name) as files:
        model = Model(files, info, dict(custom_objects or {}))
        with pickled_by_value(by_value):
            yield model
            if model.custom_objects:
                write_custom_objects(files, model.custom_objects)
        (files / MODEL_YAML).write_text(info.to_yaml(), encoding="utf-8")
        _replace_links(files)
        model.move_to(store.register(files).path)


def _replace_links(root: Path) -> None:
    """Replace symbolic links by what they point to: a link out of the directory would not survive the move."""
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(directory, name)
            if not path.is_symlink():
                continue
            try:
                target = path.resolve(strict=True)
            except (OSError, RuntimeError):  # Python before 3.13 raises RuntimeError for a loop
                target = None
            if target is None:
                raise BentoMLException(f"cannot store `{path.relative_to(root)}`: it is a link to nothing")
            if root.resolve() == target or target in root.resolve().parents:
                raise BentoMLException(
                    f"cannot store `{path.relative_to(root)}`: it is a link to a directory around it"
                )
            path.unlink()
            if target.is_dir():
                shutil.copytree(target, path)
            else:
                shutil.copy2(target, path)
