"""``bentoml.lightgbm``: boosters; of a scikit-learn style model its booster is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from .framework import Framework, Kept, saves
from .runnables import check_methods, runnable_class

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "get_runnable", "load_model", "load_runner", "save_model"]

FRAMEWORK = Framework("lightgbm", packages=("lightgbm",), signatures={"predict": {"batchable": False}})
# The library's text format, despite the name.
MODEL_FILE = "saved_model.ubj"

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


@saves
def save_model(name: Tag | str, model: Any, **kept: Unpack[Kept]) -> Model:
    """Save a booster, or that of a fitted ``LGBMModel``, to the model store and return the stored model."""
    lightgbm = FRAMEWORK.require("lightgbm")
    if not isinstance(model, lightgbm.Booster):
        model = model.booster_  # an AttributeError says that it is no model of the library
    if not isinstance(model, lightgbm.Booster):
        raise TypeError(f"Given model ({model}) is not a lightgbm.basic.Booster.")
    with FRAMEWORK.saving(name, **kept) as stored:
        model.save_model(stored.path_of(MODEL_FILE))
    return stored


def load_model(bento_model: Tag | str | Model) -> Any:
    """Load a booster that ``save_model`` saved, given by tag or as ``Model``."""
    stored = FRAMEWORK.stored(bento_model)
    return FRAMEWORK.require("lightgbm").Booster(model_file=stored.path_of(MODEL_FILE))


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class of a booster, which predicts on the processor only."""
    numpy = FRAMEWORK.require("numpy")

    def load(self: Any) -> None:
        self.model = load_model(bento_model)
        check_methods(bento_model, self.model, "LightGBM model")

    def method(name: str) -> Callable[..., Any]:
        def run(self: Any, input_data: Any) -> Any:
            return numpy.asarray(getattr(self.model, name)(input_data))

        return run

    return runnable_class("LightGBMRunnable", bento_model, load, method)
