"""Turns sentences into vectors that are close if the sentences mean the same."""

from __future__ import annotations

from pathlib import Path

import bentoml
import numpy as np
from bentoml.models import HuggingFaceModel
from bert import SentenceEncoder


@bentoml.service(traffic={"timeout": 60})
class MiniLM:
    """Encodes sentences."""

    directory = HuggingFaceModel("sentence-transformers/all-MiniLM-L6-v2")

    def __init__(self) -> None:
        self.encoder = SentenceEncoder(Path(self.directory))

    @bentoml.api
    def encode(self, texts: list[str]) -> np.ndarray:
        """Give the vector of each text."""
        return self.encoder.encode(texts)
