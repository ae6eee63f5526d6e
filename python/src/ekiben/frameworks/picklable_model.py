"""``bentoml.picklable_model``: any object that cloudpickle can pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..models.model import Model
from ..tag import Tag
from .framework import PARTIAL_KWARGS, Framework, Kept, saves

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "load_model", "save_model"]

FRAMEWORK = Framework("picklable_model", packages=("cloudpickle",), context_name="cloudpickle", options=PARTIAL_KWARGS)
MODEL_FILE = "saved_model.pkl"

get = FRAMEWORK.get


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
