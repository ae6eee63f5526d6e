"""Where the stores are: in ``$BENTOML_HOME``; models also in the directory of the bento that this process serves."""

from __future__ import annotations

import os
from pathlib import Path

from ..tag import Tag

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


def models_directory() -> Path:
    """Return the directory of the model store that lookups go to."""
    return _bento_models or bentoml_home() / "models"


def bentos_directory() -> Path:
    """Return the directory of the bento store."""
    return bentoml_home() / "bentos"


def scratch_directory() -> Path:
    """Return where things are prepared; in a home, on the same file system as the stores."""
    return bentoml_home() / "tmp"


def serve_bento(models: Path | None, aliases: dict[str, str]) -> None:
    """Make lookups go to the models inside a bento (None: it has none) and know the bento's aliases."""
    global _bento_models, _bento_aliases
    _bento_models = models
    _bento_aliases = dict(aliases)


def alias_target(tag: Tag | str) -> Tag | str:
    """Return the tag that an alias of the bento stands for, or ``tag`` itself."""
    return _bento_aliases.get(tag, tag) if isinstance(tag, str) else tag
