"""A sentence encoder of the BERT family in NumPy: the transformer, then the mean of its tokens, length 1."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

if TYPE_CHECKING:
    from pathlib import Path

# A score that no attention is left after.
NEVER = np.float32(-1e9)


class SentenceEncoder:
    """A model in a directory as sentence-transformers writes it."""

    def __init__(self, directory: Path) -> None:
        config = json.loads((directory / "config.json").read_text())
        self.layers = range(config["num_hidden_layers"])
        self.heads = config["num_attention_heads"]
        self.epsilon = config["layer_norm_eps"]
        self.weights = load_file(directory / "model.safetensors")
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        limits = json.loads((directory / "sentence_bert_config.json").read_text())
        self.tokenizer.enable_truncation(limits["max_seq_length"])
        self.tokenizer.enable_padding(pad_id=config["pad_token_id"])

    def encode(self, texts: list[str]) -> np.ndarray:
        """Give one vector of length 1 for each text."""
        if not texts:
            return np.empty((0, self.weights["embeddings.word_embeddings.weight"].shape[1]), np.float32)
        encodings = self.tokenizer.encode_batch(texts)
        tokens = np.array([encoding.ids for encoding in encodings])
        is_token = np.array([encoding.attention_mask for encoding in encodings], np.float32)
        hidden = self.transform(tokens, is_token)
        counted = hidden * is_token[:, :, None]
        mean = counted.sum(axis=1) / is_token.sum(axis=1, keepdims=True)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def transform(self, tokens: np.ndarray, is_token: np.ndarray) -> np.ndarray:
        """Give the last hidden state: texts by tokens by width."""
        table = "embeddings.{}_embeddings.weight".format
        words = self.weights[table("word")][tokens]
        places = self.weights[table("position")][: tokens.shape[1]]
        hidden = self.normalise("embeddings.LayerNorm", words + places + self.weights[table("token_type")][0])
        masked = (1 - is_token)[:, None, None, :] * NEVER
        for index in self.layers:
            layer = f"encoder.layer.{index}"
            seen = self.attend(f"{layer}.attention.self", hidden, masked)
            seen = self.linear(f"{layer}.attention.output.dense", seen)
            hidden = self.normalise(f"{layer}.attention.output.LayerNorm", hidden + seen)
            thought = gelu(self.linear(f"{layer}.intermediate.dense", hidden))
            thought = self.linear(f"{layer}.output.dense", thought)
            hidden = self.normalise(f"{layer}.output.LayerNorm", hidden + thought)
        return hidden

    def attend(self, name: str, hidden: np.ndarray, masked: np.ndarray) -> np.ndarray:
        """Give what each token takes over from the others."""
        texts, length, width = hidden.shape

        def heads(part: str) -> np.ndarray:
            flat = self.linear(f"{name}.{part}", hidden)
            return flat.reshape(texts, length, self.heads, width // self.heads).transpose(0, 2, 1, 3)

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(width // self.heads)) + masked
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        return (shares @ value).transpose(0, 2, 1, 3).reshape(texts, length, width)

    def linear(self, name: str, hidden: np.ndarray) -> np.ndarray:
        """Apply a linear layer."""
        return hidden @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def normalise(self, name: str, hidden: np.ndarray) -> np.ndarray:
        """Apply a layer's normalisation."""
        centred = hidden - hidden.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(self.epsilon))
        return centred / scale * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def gelu(values: np.ndarray) -> np.ndarray:
    """Give each value times the share of a normal distribution that is below it."""
    return values * np.float32(0.5) * (1 + erf(values / np.float32(np.sqrt(2))))


def erf(values: np.ndarray) -> np.ndarray:
    """Give the error function, which NumPy lacks, to 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    size = np.abs(values)
    step = 1 / (1 + np.float32(0.3275911) * size)
    factors = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
    series = np.zeros_like(size)
    for factor in factors:
        series = (series + np.float32(factor)) * step
    return np.sign(values) * (1 - series * np.exp(-size * size))
