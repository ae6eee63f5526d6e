"""``bentoml.types``: types for annotations in user code."""

from __future__ import annotations

from typing import Any, TypedDict, Union

from .models.info import ModelSignature

__all__ = ["ModelSignature", "ModelSignatureDict"]


class ModelSignatureDict(TypedDict, total=False):
    """A ``ModelSignature`` as a mapping; an integer ``batch_dim`` means both dimensions."""

    batchable: bool
    batch_dim: Union[tuple[int, int], int]
    input_spec: Any
    output_spec: Any
