"""Where the store is: ``$BENTOML_HOME``, or the directory of the bento that this process serves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..tag import Tag

if TYPE_CHECKING:
    from .store import ModelStore

_bento_models: Path | None = None
_bento_aliases: dict[str, str] = {}


def bentoml_home() -> Path:
    """Return the home directory; ``~`` and ``$VAR`` are expanded until nothing changes."""
    text = os.environ.get("BENTOML_HOME") or os.path.join("~", "bentoml")
    seen = set()
    while text not in seen:
        seen.add(text)
        text = os.path.expandvars(os.path.expanduser(text))
    return Path(text)


def active_store() -> ModelStore:
    """Return the store that lookups go to."""
    from .store import ModelStore

    home = bentoml_home()
    return ModelStore(_bento_models or home / "models", staging=home / "tmp")


def serve_bento(models: Path | None, aliases: dict[str, str]) -> None:
    """Make lookups go to the models inside a bento (None: it has none) and know the bento's aliases."""
    global _bento_models, _bento_aliases
    _bento_models = models
    _bento_aliases = dict(aliases)


def alias_target(tag: Tag | str) -> Tag | str:
    """Return the tag that an alias of the bento stands for, or ``tag`` itself."""
    return _bento_aliases.get(tag, tag) if isinstance(tag, str) else tag
