"""``bentoml.sklearn``: scikit-learn models, saved with joblib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from .framework import Framework, Kept, saves
from .runnables import runnable_class

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "get_runnable", "load_model", "load_runner", "save_model"]

FRAMEWORK = Framework("sklearn", packages=("scikit-learn",), signatures={"predict": {"batchable": False}})
MODEL_FILE = "saved_model.pkl"

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


@saves
def save_model(name: Tag | str, model: Any, **kept: Unpack[Kept]) -> Model:
    """Save an estimator or pipeline to the model store and return the stored model."""
    base = FRAMEWORK.require("sklearn.base")
    joblib = FRAMEWORK.require("joblib")
    if not isinstance(model, base.BaseEstimator):
        raise TypeError(f"Given model ({model}) is not a sklearn.base.BaseEstimator or sklearn.pipeline.Pipeline.")
    with FRAMEWORK.saving(name, **kept) as stored:
        joblib.dump(model, stored.path_of(MODEL_FILE))
    return stored


def load_model(bento_model: Tag | str | Model) -> Any:
    """Load a model that ``save_model`` saved, given by tag or as ``Model``."""
    stored = FRAMEWORK.stored(bento_model)
    return FRAMEWORK.require("joblib").load(stored.path_of(MODEL_FILE))


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class of a model: a method for each signature."""

    def load(self: Any) -> None:
        self.model = load_model(bento_model)

    def method(name: str) -> Callable[..., Any]:
        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            with FRAMEWORK.require("joblib").parallel_backend(backend="loky"):
                return getattr(self.model, name)(*args, **kwargs)

        return run

    return runnable_class("SklearnRunnable", bento_model, load, method)
