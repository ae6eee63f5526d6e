"""``bentoml.keras``: Keras models on TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..models.model import Model
from ..tag import Tag
from .framework import PARTIAL_KWARGS, Framework, Kept, saves
from .tensorflow import device, versions

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "load_model", "save_model"]

FRAMEWORK = Framework("keras", packages=("tensorflow",), signatures={"predict": {"batchable": False}})

get = FRAMEWORK.get


@saves
def save_model(
    name: Tag | str,
    model: Any,
    *,
    tf_signatures: Any = None,
    tf_save_options: Any = None,
    include_optimizer: bool = False,
    **kept: Unpack[Kept],
) -> Model:
    """Save a model to the model store; ``custom_objects`` are also what loading it needs."""
    FRAMEWORK.require("tensorflow")
    keras = FRAMEWORK.require("keras")
    if not isinstance(model, (keras.Model, keras.Sequential)):
        raise TypeError(f"Given model ({model}) is not a keras.model.Model or keras.engine.sequential.Sequential.")
    arguments: dict[str, Any] = {"include_optimizer": include_optimizer}
    if tf_signatures is not None:
        arguments["signatures"] = tf_signatures
    if tf_save_options is not None:
        arguments["options"] = tf_save_options
    if _writes_directories(keras):
        arguments["zipped"] = False
    options = {**PARTIAL_KWARGS, "include_optimizer": include_optimizer}
    with FRAMEWORK.saving(name, options=options, versions=versions(FRAMEWORK), **kept) as stored:
        model.save(stored.path, **arguments)
    return stored


def load_model(bento_model: Tag | str | Model, device_name: str = "/device:CPU:0") -> Any:
    """Load the model onto a device, given by tag or as ``Model``."""
    stored = FRAMEWORK.stored(bento_model)
    tensorflow = FRAMEWORK.require("tensorflow")
    keras = FRAMEWORK.require("keras")
    with device(tensorflow, device_name):
        return keras.models.load_model(stored.path, custom_objects=stored.custom_objects)


def _writes_directories(keras: Any) -> bool:
    """Tell whether ``save`` must be asked for a directory: since 3.4 it can, and writes one file if not asked."""
    return tuple(int(part) for part in str(keras.__version__).split(".")[:2]) >= (3, 4)
