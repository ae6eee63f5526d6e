"""``bentoml.torchscript``: scripted and traced PyTorch modules."""

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

FRAMEWORK = Framework("torchscript", packages=("torch",), options=PARTIAL_KWARGS)
MODEL_FILE = "saved_model.pt"

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


@saves
def save_model(
    name: Tag | str, model: Any, *, _extra_files: dict[str, Any] | None = None, **kept: Unpack[Kept]
) -> Model:
    """Save a script module, with extra files if given, to the model store and return the stored model."""
    return save_script(FRAMEWORK, name, model, _extra_files, kept)


def load_model(
    bentoml_model: Tag | str | Model, device_id: str | None = "cpu", *, _extra_files: dict[str, Any] | None = None
) -> Any:
    """Load a script module onto a device; the keys of ``_extra_files`` get their contents."""
    stored = FRAMEWORK.stored(bentoml_model)
    torch = FRAMEWORK.require("torch")
    return torch.jit.load(stored.path_of(MODEL_FILE), map_location=device_id, _extra_files=_extra_files)


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class of a module: arrays become tensors, no gradients are kept."""
    return torch_runnable(FRAMEWORK, bento_model, load_model)


def save_script(
    framework: Framework, name: Tag | str, model: Any, extra_files: dict[str, Any] | None, kept: Kept
) -> Model:
    """Save a script module as a model of ``framework``."""
    torch = framework.require("torch")
    if not isinstance(model, torch.jit.ScriptModule):
        raise TypeError(f"Given model ({model}) is not a torch.ScriptModule.")
    if extra_files is not None:
        kept = {**kept, "metadata": {**(kept.get("metadata") or {}), "_extra_files": list(extra_files)}}
    with framework.saving(name, **kept) as stored:
        torch.jit.save(model, stored.path_of(MODEL_FILE), _extra_files=extra_files)
    return stored
