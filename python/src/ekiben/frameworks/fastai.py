"""``bentoml.fastai``: fastai learners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..exceptions import BentoMLException
from ..models.info import ModelSignature
from ..models.model import Model
from ..tag import Tag
from .framework import Framework, Kept, saves

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "load_model", "save_model"]

FRAMEWORK = Framework(
    "fastai",
    packages=("fastai", "fastcore", "torch"),
    signatures={"predict": {"batchable": False}},
    refusals=("failed to load", "failed loading"),
)
MODEL_FILE = "saved_model.pkl"

get = FRAMEWORK.get


@saves
def save_model(name: Tag | str, learner_: Any, **kept: Unpack[Kept]) -> Model:
    """Save a learner to the model store; callbacks that cannot be pickled must be removed before."""
    torch = FRAMEWORK.require("torch", install="torch")
    learner = FRAMEWORK.require("fastai.learner")
    cloudpickle = FRAMEWORK.require("cloudpickle", install="cloudpickle")
    if isinstance(learner_, torch.nn.Module):
        raise BentoMLException(
            "'bentoml.fastai.save_model()' does not support saving pytorch 'Module's directly: make a 'Learner' of it, "
            "or use 'bentoml.pytorch.save_model()'."
        )
    if not isinstance(learner_, learner.Learner):
        raise BentoMLException(
            f"'bentoml.fastai.save_model()' only support saving fastai 'Learner' object. "
            f"Got {type(learner_).__name__} instead."
        )
    signatures = kept.get("signatures") or {}
    if batchable := [name for name, value in signatures.items() if ModelSignature.of(value).batchable]:
        raise BentoMLException(
            f"Batchable signatures are not supported for fastai models. "
            f"The following signatures have batchable sets to 'True': {batchable}."
        )
    with FRAMEWORK.saving(name, **kept) as stored:
        learner_.export(stored.path_of(MODEL_FILE), pickle_module=cloudpickle)
    return stored


def load_model(bento_model: Tag | str | Model) -> Any:
    """Load a learner onto the processor, given by tag or as ``Model``."""
    stored = FRAMEWORK.stored(bento_model)
    with open(stored.path_of(MODEL_FILE), "rb") as file:
        return FRAMEWORK.require("fastai.learner").load_learner(file, cpu=True)
