"""``bentoml.easyocr``: readers of EasyOCR with their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from .framework import Framework, Kept, saves
from .runnables import GPU_OR_CPU, runnable_class

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "get_runnable", "load_model", "load_runner", "save_model"]

FRAMEWORK = Framework(
    "easyocr",
    packages=("easyocr",),
    signatures={
        **{method: {"batchable": False} for method in ("detect", "readtext", "readtextlang", "recognize")},
        "readtext_batched": {"batchable": True},
    },
)
MODEL_FILE = "saved_model.pkl"

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


@saves
def save_model(name: Tag | str, reader: Any, **kept: Unpack[Kept]) -> Model:
    """Save a reader to the model store and return the stored model."""
    easyocr = FRAMEWORK.require("easyocr")
    cloudpickle = FRAMEWORK.require("cloudpickle", install="cloudpickle")
    if not isinstance(reader, easyocr.Reader):
        raise TypeError(f"Given model ({reader}) is not a easyocr.Reader.")
    with FRAMEWORK.saving(name, **kept) as stored, open(stored.path_of(MODEL_FILE), "wb") as file:
        cloudpickle.dump(reader, file)
    return stored


def load_model(bento_model: Tag | str | Model) -> Any:
    """Load a reader, given by tag or as ``Model``."""
    stored = FRAMEWORK.stored(bento_model)
    FRAMEWORK.require("easyocr")
    with open(stored.path_of(MODEL_FILE), "rb") as file:
        return FRAMEWORK.require("cloudpickle", install="cloudpickle").load(file)


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class of a model: a method for each signature."""

    def load(self: Any) -> None:
        self.model = load_model(bento_model)
        self.predict_fns = {name: getattr(self.model, name) for name in bento_model.info.signatures}

    def method(name: str) -> Callable[..., Any]:
        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            return self.predict_fns[name](*args, **kwargs)

        return run

    return runnable_class("EasyOCRRunnable", bento_model, load, method, resources=GPU_OR_CPU)
