"""``Kind``: what the two stores differ in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """Models or bentos: their words, files and directories."""

    word: str
    directory: str
    file_name: str
    extension: str
    pull_command: str
    # The words before a verb of the command line: `ekiben models export`, `ekiben export`.
    command: tuple[str, ...]


MODEL = Kind("Model", "models", "model.yaml", "bentomodel", "bentoml models pull", ("models",))
BENTO = Kind("Bento", "bentos", "bento.yaml", "bento", "bentoml pull", ())
