"""``bentoml.detectron``: Detectron2 models and predictors."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..models.model import Model
from ..tag import Tag
from .framework import PARTIAL_KWARGS, Framework, Kept, saves

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "load_model", "save_model"]

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
