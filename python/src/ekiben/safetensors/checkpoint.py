"""A checkpoint: the files that hold a model's tensors, and which file holds which."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..exceptions import NotFound
from .contents import Contents
from .errors import SafetensorsError, unreadable
from .header import MAX_HEADER, Entry

SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
# What `transformers` writes; it looks for them in this order.
WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Shard:
    """A file of a checkpoint; ``names`` are the tensors to take from it, None for all."""

    path: str
    names: frozenset[str] | None = None


@dataclass(frozen=True)
class Placed:
    """A tensor and the file that has it."""

    entry: Entry
    contents: Contents


def find_shards(path: str) -> list[Shard]:
    """Return the files to load for a file, an index of shards, or a directory with either."""
    if os.path.isdir(path):
        path = _in_directory(path)
        if os.path.isdir(path):
            return [Shard(os.path.join(path, name)) for name in _listed(path)]
    return _read_index(path) if path.endswith(INDEX_SUFFIX) else [Shard(path)]


def tensors_of(contents: Sequence[tuple[Shard, Contents]]) -> dict[str, Placed]:
    """Return the tensors to load by name, in the order of the files and of the bytes in them."""
    tensors: dict[str, Placed] = {}
    for shard, content in contents:
        if shard.names is not None:
            missing = sorted(shard.names.difference(entry.name for entry in content.header.entries))
            if missing:
                raise SafetensorsError(shard.path, f"tensor `{missing[0]}` is not in it, although the index says so")
        for entry in content.header.entries:
            if shard.names is not None and entry.name not in shard.names:
                continue
            if entry.name in tensors:
                other = tensors[entry.name].contents.path
                raise SafetensorsError(
                    shard.path, f"tensor `{entry.name}` is in `{other}` too: give the path of one of the files"
                )
            tensors[entry.name] = Placed(entry, content)
    return tensors


def _in_directory(directory: str) -> str:
    """Return the file to load, or the directory itself where all files are meant."""
    names = _listed(directory)
    indexes = sorted(name for name in os.listdir(directory) if name.endswith(INDEX_SUFFIX))
    if WHOLE in names:
        return os.path.join(directory, WHOLE)
    if INDEX in indexes or len(indexes) == 1:
        return os.path.join(directory, INDEX if INDEX in indexes else indexes[0])
    if indexes:
        raise SafetensorsError(directory, f"it has several checkpoints, give the path of one: {', '.join(indexes)}")
    if not names:
        raise NotFound(f"cannot load `{directory}`: there is no `*{SUFFIX}` in it")
    return directory


def _listed(directory: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if name.endswith(SUFFIX))
    except OSError as error:
        raise unreadable(directory, error) from error


def _read_index(path: str) -> list[Shard]:
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_HEADER + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    shards: dict[str, set[str]] = {}
    for tensor, name in _weight_map(path, raw).items():
        if not isinstance(name, str) or name in ("", ".", "..") or os.path.basename(name) != name or "\0" in name:
            raise SafetensorsError(path, f"tensor `{tensor}` is in no file beside the index, but in {name!r}")
        shards.setdefault(name, set()).add(tensor)
    directory = os.path.dirname(path)
    return [Shard(os.path.join(directory, name), frozenset(shards[name])) for name in sorted(shards)]


def _weight_map(path: str, raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_HEADER:
        raise SafetensorsError(path, f"the index has more than {MAX_HEADER} bytes")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise SafetensorsError(path, f"the index is not valid JSON: {error}") from error
    found = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise SafetensorsError(path, "the index has no `weight_map` of tensors to files")
    return found
