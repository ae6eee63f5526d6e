"""``bentoml.flax``: Flax modules with their state."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable

from ..exceptions import BentoMLException
from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from .framework import PARTIAL_KWARGS, Framework, Kept, saves
from .runnables import GPU_OR_CPU, is_array, is_frame, partial_kwargs, runnable_class

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "get_runnable", "load_model", "load_runner", "save_model"]

FRAMEWORK = Framework(
    "flax",
    packages=("flax", "jax", "jaxlib"),
    options=PARTIAL_KWARGS,
    refusals=("failed to load", "failed loading"),
)
MODEL_FILE = "saved_model.msgpack"
# The custom object that is the module itself.
MODULE_OBJECT = "_module"

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


@saves
def save_model(name: Tag | str, module: Any, state: Any, **kept: Unpack[Kept]) -> Model:
    """Save a ``linen`` module and its state to the model store and return the stored model."""
    linen = FRAMEWORK.require("flax.linen")
    serialization = FRAMEWORK.require("flax.serialization")
    if not isinstance(module, linen.Module):
        raise BentoMLException(
            f"'bentoml.flax.save_model()' only support saving 'flax.linen.Module' object. "
            f"Got {type(module).__name__} instead."
        )
    kept["custom_objects"] = {**(kept.get("custom_objects") or {}), MODULE_OBJECT: module}
    with FRAMEWORK.saving(name, **kept) as stored, open(stored.path_of(MODEL_FILE), "wb") as file:
        file.write(serialization.to_bytes(state))
    return stored


def load_model(bento_model: Tag | str | Model, init: bool = True, device: Any = "cpu") -> tuple[Any, dict[str, Any]]:
    """Load the module and its state: as arrays of JAX, or with ``init=False`` put onto a device as they are."""
    stored = FRAMEWORK.stored(bento_model)
    jax = FRAMEWORK.require("jax")
    serialization = FRAMEWORK.require("flax.serialization")
    if MODULE_OBJECT not in stored.custom_objects:
        raise BentoMLException(f"Model {stored.tag} was either corrupt or not saved with 'bentoml.flax.save_model()'.")
    module = stored.custom_objects[MODULE_OBJECT]
    with open(stored.path_of(MODEL_FILE), "rb") as file:
        content = file.read()
    try:
        state = serialization.from_bytes(module, content)
    except Exception as error:  # msgpack's own classes, UnpicklingError, UnicodeDecodeError: all mean one thing
        raise BentoMLException(f"cannot read the state of model `{stored.tag}`: {error}") from error
    if init:
        return module, jax.tree_util.tree_map(jax.numpy.array, state)
    place = jax.devices(device)[0]
    return module, jax.tree_util.tree_map(lambda leaf: jax.device_put(leaf, place), state)


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class of a module, whose methods are applied to the parameters of its state."""
    jax = FRAMEWORK.require("jax")

    def load(self: Any) -> None:
        self.device = jax.default_backend()
        self.model, self.state_dict = load_model(bento_model, device=self.device)
        self.params = self.state_dict["params"]

    def as_array(value: Any) -> Any:
        value = value.to_numpy() if is_frame(value) else value
        return jax.numpy.asarray(value) if is_array(value) else value

    def method(name: str) -> Callable[..., Any]:
        added = partial_kwargs(bento_model, name)

        def run(self: Any, *args: Any) -> Any:
            bound = getattr(self.model, name)
            arrays = tuple(as_array(value) for value in args)
            return self.model.apply(
                {"params": self.params},
                arrays[0] if len(arrays) == 1 else arrays,
                method=functools.partial(bound, **added) if added else bound,
            )

        return run

    return runnable_class("FlaxRunnable", bento_model, load, method, resources=("tpu", *GPU_OR_CPU))
