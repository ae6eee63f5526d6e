"""``bentoml.fastai``: fastai learners."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Callable

from ..exceptions import BentoMLException
from ..models.info import ModelSignature
from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from .framework import Framework, Kept, saves
from .runnables import check_methods, runnable_class
from .torch_runnable import without_gradients

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "get_runnable", "load_model", "load_runner", "save_model"]

logger = logging.getLogger(__name__)

FRAMEWORK = Framework(
    "fastai",
    packages=("fastai", "fastcore", "torch"),
    signatures={"predict": {"batchable": False}},
    refusals=("failed to load", "failed loading"),
)
MODEL_FILE = "saved_model.pkl"

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


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


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class of a learner, which predicts on the processor only."""
    logger.warning(
        "Runners created from FastAIRunnable will not be optimized for performance. If performance is critical to your "
        "usecase, please access the PyTorch model directly via 'learn.model' and use 'bentoml.pytorch.get_runnable()' "
        "instead."
    )
    torch = FRAMEWORK.require("torch", install="torch")

    def load(self: Any) -> None:
        self.learner = load_model(bento_model)
        self.learner.model.train(False)
        check_methods(bento_model, self.learner, "Learner")

    def method(name: str) -> Callable[..., Any]:
        def run(self: Any, input_data: Any) -> Any:
            with without_gradients(torch):
                return getattr(self.learner, name)(input_data)

        return run

    return runnable_class("FastAIRunnable", bento_model, load, method)
