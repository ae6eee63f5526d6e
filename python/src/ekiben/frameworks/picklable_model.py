"""``bentoml.picklable_model``: any object that cloudpickle can pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from .framework import PARTIAL_KWARGS, Framework, Kept, saves
from .runnables import partial_kwargs, runnable_class

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "get_runnable", "load_model", "load_runner", "save_model"]

FRAMEWORK = Framework("picklable_model", packages=("cloudpickle",), context_name="cloudpickle", options=PARTIAL_KWARGS)
MODEL_FILE = "saved_model.pkl"

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


@saves
def save_model(name: Tag | str, model: Any, **kept: Unpack[Kept]) -> Model:
    """Save an object to the model store and return the stored model."""
    cloudpickle = FRAMEWORK.require("cloudpickle")
    with FRAMEWORK.saving(name, **kept) as stored, open(stored.path_of(MODEL_FILE), "wb") as file:
        cloudpickle.dump(model, file)
    return stored


def load_model(bento_model: Tag | str | Model) -> Any:
    """Load an object that ``save_model`` saved, given by tag or as ``Model``."""
    stored = FRAMEWORK.stored(bento_model)
    with open(stored.path_of(MODEL_FILE), "rb") as file:
        return FRAMEWORK.require("cloudpickle").load(file)


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class of an object: Python code, so that each worker keeps to one core."""

    def load(self: Any) -> None:
        self.model = load_model(bento_model)

    def method(name: str) -> Callable[..., Any]:
        added = partial_kwargs(bento_model, name)

        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(self.model, name)(*args, **{**added, **kwargs})

        return run

    return runnable_class("PicklableRunnable", bento_model, load, method, multi_threading=False)
