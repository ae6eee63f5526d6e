"""``bentoml.detectron``: Detectron2 models and predictors."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Callable

from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from .framework import PARTIAL_KWARGS, Framework, Kept, saves
from .runnables import GPU_OR_CPU, partial_kwargs, runnable_class
from .torch_runnable import to_tensor, use_best_device, without_gradients

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "get_runnable", "load_model", "load_runner", "save_model"]

logger = logging.getLogger(__name__)

FRAMEWORK = Framework("detectron", packages=("detectron2",), context_name="detectron2", options=PARTIAL_KWARGS)
# The checkpointer adds the extension itself.
MODEL_NAME = "saved_model"
EXTENSION = ".pth"
# The library is installed from its repository.
INSTALL = "'git+https://github.com/facebookresearch/detectron2.git'"
IS_PREDICTOR = "_is_predictor"
CONFIG_OBJECT = "config"

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


@saves
def save_model(name: Tag | str, checkpointables: Any, config: Any = None, **kept: Unpack[Kept]) -> Model:
    """Save a predictor, or a module with its ``config``, to the model store and return the stored model."""
    engine = FRAMEWORK.require("detectron2.engine", install=INSTALL)
    checkpoint = FRAMEWORK.require("detectron2.checkpoint", install=INSTALL)
    torch = FRAMEWORK.require("torch", install="torch")
    if isinstance(checkpointables, torch.nn.Module):
        if config is None:
            raise ValueError("config is required when 'checkpointables' is a derived 'torch.nn.Module'.")
        model = checkpointables
        model.eval()
    else:
        model = checkpointables.model
        if config is not None:
            logger.warning("config is ignored when 'checkpointables' is a 'DefaultPredictor'.")
        config = checkpointables.cfg
    is_predictor = isinstance(checkpointables, engine.DefaultPredictor)
    kept["metadata"] = {**(kept.get("metadata") or {}), IS_PREDICTOR: is_predictor}
    kept["custom_objects"] = {**(kept.get("custom_objects") or {}), CONFIG_OBJECT: config}
    with FRAMEWORK.saving(name, **kept) as stored:
        checkpoint.Checkpointer(model, save_dir=stored.path).save(MODEL_NAME)
    return stored


def load_model(bento_model: Tag | str | Model, device_id: str = "cpu") -> Any:
    """Load what was saved, predictor or module, onto a device."""
    stored = FRAMEWORK.stored(bento_model)
    config = stored.custom_objects[CONFIG_OBJECT]
    config.MODEL.DEVICE = device_id
    if stored.info.metadata.get(IS_PREDICTOR, True):
        return FRAMEWORK.require("detectron2.engine", install=INSTALL).DefaultPredictor(config)
    model = FRAMEWORK.require("detectron2.modeling", install=INSTALL).build_model(config)
    model.to(device_id).eval()
    checkpoint = FRAMEWORK.require("detectron2.checkpoint", install=INSTALL)
    checkpoint.DetectionCheckpointer(model).load(stored.path_of(MODEL_NAME + EXTENSION))
    return model


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class: a predictor is called as it is, a module with a list of ``{"image": …}``."""
    torch = FRAMEWORK.require("torch", install="torch")
    is_predictor = bento_model.info.metadata.get(IS_PREDICTOR, True)

    def load(self: Any) -> None:
        self.device_id = use_best_device(torch)
        self.model = load_model(bento_model, device_id=self.device_id)
        if not is_predictor:
            self.model.train(False)
        self.predict_fns = {name: getattr(self.model, name) for name in bento_model.info.signatures}

    def method(name: str) -> Callable[..., Any]:
        added = partial_kwargs(bento_model, name)

        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            if is_predictor:
                return self.predict_fns[name](*args, **{**added, **kwargs})
            with without_gradients(torch):
                images = [{"image": to_tensor(torch, value, self.device_id)} for value in args]
                keywords = {key: to_tensor(torch, value, self.device_id) for key, value in kwargs.items()}
                return self.predict_fns[name](images, **{**added, **keywords})

        return run

    return runnable_class("Detectron2Runnable", bento_model, load, method, resources=GPU_OR_CPU)
