"""``bentoml.catboost``: CatBoost models, loaded as objects of the class that was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from ..exceptions import BentoMLException
from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from .framework import Framework, Kept, option, saves
from .runnables import GPU_OR_CPU, check_methods, runnable_class, sees_gpu, thread_count

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "get_runnable", "load_model", "load_runner", "save_model"]

FRAMEWORK = Framework("catboost", packages=("catboost",), signatures={"predict": {"batchable": False}})
MODEL_FILE = "saved_model.cbm"
DEFAULT_CLASS = "CatBoost"

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


@saves
def save_model(name: Tag | str, model: Any, **kept: Unpack[Kept]) -> Model:
    """Save a model to the model store and return the stored model."""
    catboost = FRAMEWORK.require("catboost")
    if not isinstance(model, catboost.CatBoost):
        raise TypeError(f"Given model ({model}) is not a catboost.CatBoost.")
    with FRAMEWORK.saving(name, options={"training_class_name": type(model).__name__}, **kept) as stored:
        model.save_model(stored.path_of(MODEL_FILE))
    return stored


def load_model(bento_model: Tag | str | Model) -> Any:
    """Load a model that ``save_model`` saved, given by tag or as ``Model``."""
    stored = FRAMEWORK.stored(bento_model)
    catboost = FRAMEWORK.require("catboost")
    name = option(stored, "training_class_name") or DEFAULT_CLASS
    model_class = getattr(catboost, name, None)
    if not (isinstance(model_class, type) and issubclass(model_class, catboost.CatBoost)):
        raise BentoMLException(f"{name} is not a valid CatBoost class.")
    return model_class().load_model(fname=stored.path_of(MODEL_FILE))


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class of a model: its methods take a ``Pool`` or what one is made of."""
    catboost = FRAMEWORK.require("catboost")
    numpy = FRAMEWORK.require("numpy")

    def load(self: Any) -> None:
        self.model = load_model(bento_model)
        on_cpu = {"task_type": "CPU", "thread_count": thread_count("OMP_NUM_THREADS", -1)}
        self.predict_params = {"task_type": "GPU"} if sees_gpu() else on_cpu
        check_methods(bento_model, self.model, "CatBoost model")

    def method(name: str) -> Callable[..., Any]:
        def run(self: Any, input_data: Any) -> Any:
            if not isinstance(input_data, catboost.Pool):
                input_data = catboost.Pool(input_data)
            return numpy.asarray(getattr(self.model, name)(input_data, **self.predict_params))

        return run

    return runnable_class("CatBoostRunnable", bento_model, load, method, resources=GPU_OR_CPU)
