"""``bentoml.pytorch``: whole PyTorch modules, pickled by ``torch.save`` with cloudpickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from .framework import PARTIAL_KWARGS, Framework, Kept, saves
from .torch_runnable import torch_runnable

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "get_runnable", "load_model", "load_runner", "save_model"]

FRAMEWORK = Framework("pytorch", packages=("torch",), context_name="torch", options=PARTIAL_KWARGS)
MODEL_FILE = "saved_model.pt"

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


@saves
def save_model(name: Tag | str, model: Any, **kept: Unpack[Kept]) -> Model:
    """Save a module to the model store and return the stored model."""
    torch = FRAMEWORK.require("torch")
    cloudpickle = FRAMEWORK.require("cloudpickle")
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"Given model ({model}) is not a torch.nn.Module.")
    with FRAMEWORK.saving(name, **kept) as stored, open(stored.path_of(MODEL_FILE), "wb") as file:
        torch.save(model, file, pickle_module=cloudpickle)
    return stored


def load_model(bentoml_model: Tag | str | Model, device_id: str | None = "cpu", **torch_load_args: Any) -> Any:
    """Load a module onto a device, given by tag or as ``Model``; further keywords go to ``torch.load``."""
    stored = FRAMEWORK.stored(bentoml_model)
    torch = FRAMEWORK.require("torch")
    if _loads_weights_only(torch):
        # What is loaded is a whole object, which this default of newer releases refuses.
        torch_load_args.setdefault("weights_only", False)
    with open(stored.path_of(MODEL_FILE), "rb") as file:
        return torch.load(file, map_location=device_id, **torch_load_args)


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class of a module: arrays become tensors, no gradients are kept."""
    return torch_runnable(FRAMEWORK, bento_model, load_model)


def _loads_weights_only(torch: Any) -> bool:
    """Tell whether this release may refuse whole objects: 2.6 and later, and it knows the keyword since 1.13."""
    major, minor = (int(part) for part in str(torch.__version__).split(".")[:2])
    return (major, minor) >= (2, 6)
