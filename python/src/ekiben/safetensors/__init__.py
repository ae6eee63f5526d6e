"""``bentoml.safetensors``: weights in the safetensors format, mapped into memory instead of copied.

``load_file`` takes the place of ``safetensors.numpy.load_file`` and ``safetensors.torch.load_file``. The package
``safetensors`` is not needed.
"""

from __future__ import annotations

import os
from typing import Any

from ..exceptions import InvalidArgument
from ..models.model import Model
from .checkpoint import find_shards, tensors_of
from .contents import Contents, read_contents
from .errors import SafetensorsError
from .readahead import read_ahead
from .views import VIEWS

__all__ = ["SafetensorsError", "load_file"]

# Reads of this many parts at a time keep a fast disk busy; more do not make it faster.
THREADS = 4


def load_file(
    path: str | os.PathLike[str] | Model,
    framework: str = "numpy",
    *,
    device: Any = None,
    mmap: bool = True,
    threads: int = THREADS,
    raw: bool = False,
) -> dict[str, Any]:
    """Return the tensors of a checkpoint by name, as arrays of ``"numpy"`` or tensors of ``"torch"``.

    ``path`` is a file, an index of shards (``model.safetensors.index.json``), a directory with either (a stored model,
    a snapshot of the Hugging Face hub), or a model of the store.

    Files are mapped: nothing is copied, pages are shared by all workers and come from the disk when they are first
    used, several parts at a time and in order. Writing to a tensor changes this process's copy alone. Do not shorten a
    file in place while its tensors are used; replacing it is fine. Pipes, and file systems that cannot map, are read
    into memory by ``threads`` threads, as all files are with ``mmap=False``.

    Types that the framework lacks are errors; with ``raw=True`` they are unsigned integers of the same bits.
    ``device`` is where tensors of torch go.
    """
    if framework not in VIEWS:
        raise InvalidArgument(f"framework `{framework}` is not known to safetensors: choose one of {', '.join(VIEWS)}")
    if device is not None and framework != "torch":
        raise InvalidArgument(f"`device` is for the framework `torch`, not for `{framework}`")
    if threads < 1:
        raise InvalidArgument(f"`threads` must be at least 1, but is {threads}")
    shards = find_shards(os.fsdecode(path.path if isinstance(path, Model) else path))
    contents = [read_contents(shard.path, mmap=mmap, threads=threads) for shard in shards]
    selected = tensors_of(list(zip(shards, contents)))
    tensors = VIEWS[framework](selected, raw=raw, device=device)
    _bring(contents, threads)
    return tensors


def _bring(contents: list[Contents], threads: int) -> None:
    """Let the pages of mapped files come while the caller goes on."""
    mapped = [content.path for content in contents if content.is_mapped]
    if mapped:
        read_ahead(mapped, threads)
