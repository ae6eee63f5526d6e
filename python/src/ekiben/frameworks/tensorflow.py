"""``bentoml.tensorflow``: TensorFlow modules and Keras models in the SavedModel format."""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Callable

from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from .framework import PARTIAL_KWARGS, Framework, Kept, saves
from .runnables import GPU_OR_CPU, partial_kwargs, runnable_class

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "get_runnable", "load_model", "load_runner", "save_model"]

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
load_runner = FRAMEWORK.load_runner


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


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class: what a function refuses is cast as it wants, results become arrays."""
    tensorflow = FRAMEWORK.require("tensorflow")

    def load(self: Any) -> None:
        self.device_name = best_device(tensorflow)
        self.model = load_model(bento_model, device_name=self.device_name)

    def method(name: str) -> Callable[..., Any]:
        added = partial_kwargs(bento_model, name)

        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            function = getattr(self.model, name)
            with tensorflow.device(self.device_name):
                return _arrays(_call(tensorflow, function, args, {**added, **kwargs}))

        return run

    return runnable_class("TensorflowRunnable", bento_model, load, method, resources=GPU_OR_CPU)


def best_device(tensorflow: Any) -> str:
    """Return the first GPU that this process sees, else the processor."""
    return "/device:GPU:0" if tensorflow.config.list_physical_devices("GPU") else "/device:CPU:0"


def _call(tensorflow: Any, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function; when it refuses the arguments, cast them by its signature and call it again."""
    try:
        return function(*args, **kwargs)
    except ValueError:
        wanted = _signature(function)
        if wanted is None:
            raise
        parameters = [inspect.Parameter(spec.name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for spec in wanted]
        values = inspect.Signature(parameters).bind(*args, **kwargs).arguments.values()
        return function(*(_cast(tensorflow, value, spec) for value, spec in zip(values, wanted)))


def _signature(function: Any) -> Any:
    """Return what a function takes by position, of the first of its variants that says so."""
    for variant in getattr(function, "concrete_functions", None) or [function]:
        if signature := getattr(variant, "structured_input_signature", None):
            return signature[0]
    return None


def _cast(tensorflow: Any, value: Any, spec: Any) -> Any:
    if not isinstance(spec, tensorflow.TensorSpec):
        return value
    if isinstance(value, tensorflow.Tensor):
        return tensorflow.cast(value, dtype=spec.dtype, name=spec.name)
    return tensorflow.constant(value, dtype=spec.dtype, name=spec.name)


def _arrays(result: Any) -> Any:
    """Return a tensor as array, and several as a tuple of arrays."""
    return tuple(value.numpy() for value in result) if isinstance(result, (tuple, list)) else result.numpy()


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
