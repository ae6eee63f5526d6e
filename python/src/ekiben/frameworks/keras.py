"""``bentoml.keras``: Keras models on TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from .framework import PARTIAL_KWARGS, Framework, Kept, saves
from .runnables import GPU_OR_CPU, partial_kwargs, runnable_class
from .tensorflow import best_device, device, versions

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "get_runnable", "load_model", "load_runner", "save_model"]

FRAMEWORK = Framework("keras", packages=("tensorflow",), signatures={"predict": {"batchable": False}})

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


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


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class: arguments become tensors, several of them one tuple, results become arrays."""
    tensorflow = FRAMEWORK.require("tensorflow")

    def load(self: Any) -> None:
        self.device_name = best_device(tensorflow)
        self.model = load_model(bento_model, device_name=self.device_name)

    def method(name: str) -> Callable[..., Any]:
        added = partial_kwargs(bento_model, name)

        def run(self: Any, *args: Any) -> Any:
            with tensorflow.device(self.device_name):
                tensors = tuple(
                    value if isinstance(value, tensorflow.Tensor) else tensorflow.convert_to_tensor(value)
                    for value in args
                )
                result = getattr(self.model, name)(tensors[0] if len(tensors) == 1 else tensors, **added)
                if isinstance(result, tensorflow.Tensor):
                    return result.numpy()
                return tuple(result) if isinstance(result, list) else result

        return run

    return runnable_class("KerasRunnable", bento_model, load, method, resources=GPU_OR_CPU)


def _writes_directories(keras: Any) -> bool:
    """Tell whether ``save`` must be asked for a directory: since 3.4 it can, and writes one file if not asked."""
    return tuple(int(part) for part in str(keras.__version__).split(".")[:2]) >= (3, 4)
