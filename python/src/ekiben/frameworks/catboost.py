"""``bentoml.catboost``: CatBoost models, loaded as objects of the class that was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..exceptions import BentoMLException
from ..models.model import Model
from ..tag import Tag
from .framework import Framework, Kept, option, saves

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "load_model", "save_model"]

FRAMEWORK = Framework("catboost", packages=("catboost",), signatures={"predict": {"batchable": False}})
MODEL_FILE = "saved_model.cbm"
DEFAULT_CLASS = "CatBoost"

get = FRAMEWORK.get


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
