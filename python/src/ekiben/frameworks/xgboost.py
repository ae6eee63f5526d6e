"""``bentoml.xgboost``: boosters, and the models of XGBoost's scikit-learn interface."""

from __future__ import annotations

import logging
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

logger = logging.getLogger(__name__)

FRAMEWORK = Framework("xgboost", packages=("xgboost",), api_version="v2", signatures={"predict": {"batchable": False}})
MODEL_FILE = "saved_model.ubj"
# Builds of the same library under other names.
DISTRIBUTIONS = ("xgboost", "xgboost-cpu")

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


@saves
def save_model(name: Tag | str, model: Any, **kept: Unpack[Kept]) -> Model:
    """Save a booster or an ``XGBModel`` to the model store and return the stored model."""
    xgboost = FRAMEWORK.require("xgboost")
    # Without scikit-learn the library has no such class.
    if isinstance(model, xgboost.Booster):
        model_class = "Booster"
    elif isinstance(model, getattr(xgboost, "XGBModel", ())):
        model_class = type(model).__name__
    else:
        raise TypeError(f"Given model ({model}) is not a xgboost.Booster.")
    versions = {"xgboost": FRAMEWORK.version(*DISTRIBUTIONS)}
    with FRAMEWORK.saving(name, options={"model_class": model_class}, versions=versions, **kept) as stored:
        model.save_model(stored.path_of(MODEL_FILE))
    return stored


def load_model(bento_model: Tag | str | Model) -> Any:
    """Load a model that ``save_model`` saved, as an object of the class it had."""
    stored = FRAMEWORK.stored(bento_model)
    xgboost = FRAMEWORK.require("xgboost")
    path = stored.path_of(MODEL_FILE)
    if stored.info.api_version == "v1":
        return xgboost.Booster(model_file=path)
    if stored.info.api_version != FRAMEWORK.api_version:
        logger.warning("model `%s` has the unknown version `%s`", stored.tag, stored.info.api_version)
    name = option(stored, "model_class")
    if name is None:
        raise BentoMLException(f"cannot load model `{stored.tag}`: it lacks the option `model_class`")
    model_class = getattr(xgboost, name, None)
    if model_class is None:
        raise BentoMLException(
            f"cannot load model `{stored.tag}`: xgboost has no class `{name}`; classes of its scikit-learn interface "
            "need 'pip install scikit-learn'"
        )
    model = model_class()
    model.load_model(path)
    return model


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class of a model: a booster's methods take what a ``DMatrix`` is made of."""
    xgboost = FRAMEWORK.require("xgboost")
    numpy = FRAMEWORK.require("numpy")

    def load(self: Any) -> None:
        self.model = load_model(bento_model)
        self.booster = self.model if isinstance(self.model, xgboost.Booster) else self.model.get_booster()
        self.booster.set_param(_place(str(xgboost.__version__)))
        check_methods(bento_model, self.model, "XGBoost model")

    def method(name: str) -> Callable[..., Any]:
        def run(self: Any, input_data: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(self.model, xgboost.Booster):
                input_data = xgboost.DMatrix(input_data)
            return numpy.asarray(getattr(self.model, name)(input_data, *args, **kwargs))

        return run

    return runnable_class("XGBoostRunnable", bento_model, load, method, resources=GPU_OR_CPU)


def _place(version: str) -> dict[str, Any]:
    """Return the parameters that say where to predict; releases before 2 have other names for it."""
    is_old = int(version.partition(".")[0]) < 2
    if sees_gpu():
        return {"predictor": "gpu_predictor", "gpu_id": 0} if is_old else {"device": "cuda:0"}
    threads = {"nthread": thread_count("OMP_NUM_THREADS", 1)}
    return {"predictor": "cpu_predictor", **threads} if is_old else threads
