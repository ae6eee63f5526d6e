"""Adding a model to a store: staged beside it, made durable, then renamed into place under the lock of its name."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..exceptions import BentoMLException
from .custom_objects import write_custom_objects
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
    """
    if info.tag.version == "latest":
        raise BentoMLException(f"cannot create `{info.tag}`: `latest` is not a version, it names the newest one")
    if (store.path / info.tag.path()).exists():
        raise _exists(store, info)
    store.staging.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f"bentoml-model-{info.tag.name}-", dir=store.staging))
    try:
        files = stage / "model"
        files.mkdir()  # with the modes that the user's umask gives, unlike `mkdtemp`
        model = Model(files, info, dict(custom_objects or {}))
        yield model
        if model.custom_objects:
            write_custom_objects(files, model.custom_objects, by_value)
        (files / MODEL_YAML).write_text(info.to_yaml(), encoding="utf-8")
        _replace_links(files)
        _sync_tree(files)
        _register(store, model, files)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _register(store: ModelStore, model: Model, files: Path) -> None:
    from .store import move

    tag = model.tag
    final = store.path / tag.path()
    with store.locked(tag.name):
        if final.exists():
            raise _exists(store, model.info)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            move(files, final)
        except BaseException:
            # Only a copy to another file system can fail half-way.
            shutil.rmtree(final, ignore_errors=True)
            raise
        _sync(final.parent)
        latest = store.latest_or_none(tag.name)
        if latest is None or model.creation_time >= latest.creation_time:
            store.write_latest(tag.name, model)
            _sync(final.parent)
    model._path = final


def _exists(store: ModelStore, info: ModelInfo) -> BentoMLException:
    return BentoMLException(f"Item '{info.tag}' already exists in the store {store.path}")


def _replace_links(root: Path) -> None:
    """Replace symbolic links by what they point to: a link out of the directory would not survive the move."""
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(directory, name)
            if not path.is_symlink():
                continue
            target = path.resolve()
            if not target.exists():
                raise BentoMLException(f"cannot store `{path.relative_to(root)}`: it is a link to nothing")
            path.unlink()
            if target.is_dir():
                shutil.copytree(target, path)
            else:
                shutil.copy2(target, path)


def _sync_tree(root: Path) -> None:
    for directory, _, files in os.walk(root, topdown=False):
        for name in files:
            _sync(Path(directory, name))
        _sync(Path(directory))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
