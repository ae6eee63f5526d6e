"""``bentoml.tensorflow``: TensorFlow modules and Keras models in the SavedModel format."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..models.model import Model
from ..tag import Tag
from .framework import PARTIAL_KWARGS, Framework, Kept, saves

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "load_model", "save_model"]

FRAMEWORK = Framework("tensorflow", packages=("tensorflow",), options=PARTIAL_KWARGS)
# The distributions that hold the same `tensorflow`.
DISTRIBUTIONS = tuple(
    """
    tensorflow tensorflow-cpu tensorflow-gpu tf-nightly tf-nightly-cpu tf-nightly-gpu intel-tensorflow
    intel-tensorflow-avx512 tensorflow-rocm tensorflow-macos
    """.split()
)
# Functions that Keras adds to every model.
OF_KERAS = ("_default_save_signature", "call_and_return_all_conditional_losses")

get = FRAMEWORK.get


@saves
def save_model(
    name: Tag | str, model: Any, *, tf_signatures: Any = None, tf_save_options: Any = None, **kept: Unpack[Kept]
) -> Model:
    """Save a trackable object to the model store; without ``signatures`` each of its functions gets one."""
    tensorflow = FRAMEWORK.require("tensorflow")
    if kept.get("signatures") is None and (functions := _restorable(model)):
        kept["signatures"] = {function: {"batchable": False} for function in functions}
    with FRAMEWORK.saving(name, versions=versions(FRAMEWORK), **kept) as stored:
        tensorflow.saved_model.save(model, stored.path, signatures=tf_signatures, options=tf_save_options)
    return stored


def load_model(bento_model: Tag | str | Model, device_name: str = "/device:CPU:0") -> Any:
    """Load the model onto a device, given by tag or as ``Model``."""
    stored = FRAMEWORK.stored(bento_model)
    tensorflow = FRAMEWORK.require("tensorflow")
    with device(tensorflow, device_name):
        return tensorflow.saved_model.load(stored.path)


def versions(framework: Framework) -> dict[str, str]:
    """Return the version of whichever TensorFlow is installed."""
    return {"tensorflow": framework.version(*DISTRIBUTIONS)}


def device(tensorflow: Any, name: str) -> Any:
    """Return the context of a device; a GPU gives its memory out as needed."""
    if "GPU" in name:
        # Sessions are running already, or TensorFlow itself will say that there is no GPU.
        with suppress(RuntimeError, IndexError):
            tensorflow.config.experimental.set_memory_growth(tensorflow.config.list_physical_devices("GPU")[0], True)
    return tensorflow.device(name)


def _restorable(model: Any) -> list[str]:
    """Return the functions of a model that are there after loading: those made by ``tf.function``."""
    return [
        name for name in dir(model) if name not in OF_KERAS and hasattr(getattr(model, name, None), "function_spec")
    ]
