"""``bentoml.pytorch_lightning``: Lightning modules, saved as TorchScript."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..exceptions import BentoMLException
from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from .framework import PARTIAL_KWARGS, Framework, Kept, saves
from .torch_runnable import torch_runnable
from .torchscript import MODEL_FILE, save_script

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "get_runnable", "load_model", "load_runner", "save_model"]

FRAMEWORK = Framework("pytorch_lightning", packages=("torch", "pytorch_lightning"), options=PARTIAL_KWARGS)

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


@saves
def save_model(name: Tag | str, model: Any, **kept: Unpack[Kept]) -> Model:
    """Save a module, scripted, to the model store and return the stored model."""
    lightning = FRAMEWORK.require("pytorch_lightning", install="pytorch-lightning")
    if not isinstance(model, lightning.LightningModule):
        raise TypeError(f"'model' must be an instance of 'pl.LightningModule', got {type(model)} instead.")
    script = model.to_torchscript()
    if isinstance(script, dict):
        raise BentoMLException("saving a dict of Lightning modules as one model is not supported")
    return save_script(FRAMEWORK, name, script, None, kept)


def load_model(bentoml_model: Tag | str | Model, device_id: str | None = "cpu") -> Any:
    """Load the scripted module onto a device, given by tag or as ``Model``."""
    stored = FRAMEWORK.stored(bentoml_model)
    return FRAMEWORK.require("torch").jit.load(stored.path_of(MODEL_FILE), map_location=device_id)


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class of a module: arrays become tensors, no gradients are kept."""
    return torch_runnable(FRAMEWORK, bento_model, load_model)
