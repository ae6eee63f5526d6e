"""Models that are taken from a directory or from the Hugging Face hub, without being loaded."""

from __future__ import annotations

import inspect
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from .. import models
from ..exceptions import BentoMLException, NotFound
from ..models.model import Model
from ..tag import Tag
from .framework import Framework

logger = logging.getLogger(__name__)


def existing(tag: Tag) -> Model | None:
    """Return the model that an import need not fetch again, because the store has it."""
    try:
        return models.get(tag)
    except NotFound:
        return None


def fetch(framework: Framework, source: str | os.PathLike[str], **arguments: Any) -> Path:
    """Return a directory: ``source`` itself, or the snapshot of the repository that it names."""
    if os.path.isdir(source):
        return Path(source)
    download = framework.require("huggingface_hub", install="huggingface_hub").snapshot_download
    known = inspect.signature(download).parameters
    return Path(download(os.fspath(source), **{key: value for key, value in arguments.items() if key in known}))


def with_commit(tag: Tag, directory: Path, *, suffix: str = "") -> Tag:
    """Return the tag whose version is the commit that a snapshot's directory is named after."""
    if directory.parent.name != "snapshots":
        raise BentoMLException("Cannot sync version with huggingface hub when importing a local model")
    if tag.version is not None:
        logger.warning("the version of `%s` is replaced by the commit `%s`", tag, directory.name)
    return Tag(tag.name, directory.name + suffix)


def copy(directory: Path, target: str) -> None:
    """Copy a snapshot; its links become files."""
    shutil.copytree(directory, target, ignore=shutil.ignore_patterns(".git"), dirs_exist_ok=True)
