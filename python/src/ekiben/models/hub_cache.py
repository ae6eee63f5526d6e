"""The cache of the Hugging Face hub's own client, read without that client: images have the cache, and need no more."""

from __future__ import annotations

import json
import os
import re
from fnmatch import fnmatchcase
from pathlib import Path

# The hash of a commit.
COMMIT = re.compile(r"[0-9a-f]{40}")
# The form of listings that is known (`huggingface_hub`, `_tree_cache.py`).
TREE_FORMAT = 1


def cache_directory() -> Path:
    """Return the directory of all repositories: the bento's own, else that of the hub's own client."""
    own = os.environ.get("BENTOML_HF_CACHE_DIR")
    if own:
        return Path(own)
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(os.path.expandvars(named)).expanduser()
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.path.expandvars(home)).expanduser() / "hub"


def is_offline() -> bool:
    """Tell whether nothing may be asked of the hub."""
    values = (os.environ.get("HF_HUB_OFFLINE"), os.environ.get("TRANSFORMERS_OFFLINE"))
    return any(str(value).upper() in ("1", "ON", "YES", "TRUE") for value in values)


def find_snapshot(
    model_id: str, revision: str, include: list[str] | None = None, exclude: list[str] | None = None
) -> str | None:
    """Return the directory of a snapshot whose wanted files are all here; ``None`` where that is not certain.

    A branch or tag may mean another commit by now, so that it is looked up only where nothing can be asked: offline,
    and in the cache that a bento brings along.
    """
    cache = cache_directory()
    is_own = bool(os.environ.get("BENTOML_HF_CACHE_DIR"))
    repository = _repository(cache, model_id)
    if repository is None:
        return None
    commit: str | None = revision
    if not COMMIT.fullmatch(revision):
        commit = _reference(repository, revision) if is_own or is_offline() else None
    if commit is None:
        return None
    snapshot = repository / "snapshots" / commit
    if not snapshot.is_dir():
        return None
    wanted = _listed(repository, commit)
    if wanted is None:
        return str(snapshot) if is_own or is_offline() else None
    missing = (path for path in wanted if accepts(path, include, exclude) and not (snapshot / path).exists())
    return None if any(True for _ in missing) else str(snapshot)


def accepts(path: str, include: list[str] | None, exclude: list[str] | None) -> bool:
    """Tell whether a file is wanted, as ``snapshot_download`` does: one that ends with a slash means all below."""

    def fits(patterns: list[str] | str) -> bool:
        each = [patterns] if isinstance(patterns, str) else patterns
        return any(fnmatchcase(path, pattern + "*" if pattern.endswith("/") else pattern) for pattern in each)

    return (include is None or fits(include)) and (exclude is None or not fits(exclude))


def _repository(cache: Path, model_id: str) -> Path | None:
    """Return the directory of a repository, whatever the case of its letters: bentos name it in lower case."""
    name = "models--" + model_id.replace("/", "--")
    if (cache / name).is_dir():
        return cache / name
    try:
        names = sorted(os.listdir(cache))
    except OSError:
        return None
    return next((cache / other for other in names if other.lower() == name.lower()), None)


def _reference(repository: Path, revision: str) -> str | None:
    if any(part in ("", ".", "..") for part in revision.split("/")):
        return None
    try:
        text = (repository / "refs" / revision).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return text if COMMIT.fullmatch(text) else None


def _listed(repository: Path, commit: str) -> list[str] | None:
    """Return the files of a commit; ``None`` where they were never listed."""
    try:
        tree = json.loads((repository / "trees" / f"{commit}.json").read_text(encoding="utf-8"))
        return [*tree["files"]] if tree["format_version"] == TREE_FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
