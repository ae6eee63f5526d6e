"""``bentoml.sklearn``: scikit-learn models, saved with joblib."""

from __future__ import annotations

import logging
from importlib.metadata import version
from types import ModuleType
from typing import Any

from ..exceptions import MissingDependencyException, NotFound
from ..models import create, get
from ..models.info import ModelContext
from ..models.model import Model
from ..tag import Tag

try:
    import joblib
except ImportError as error:
    raise MissingDependencyException(
        "scikit-learn is required in order to use the module 'bentoml.sklearn', "
        "install scikit-learn with 'pip install scikit-learn'"
    ) from error

__all__ = ["get", "load_model", "save_model"]

logger = logging.getLogger(__name__)

MODULE = "bentoml.sklearn"
# What upstream has written there: the implementation's own path.
MODULE_NAMES = (MODULE, "bentoml._internal.frameworks.sklearn", "_bentoml_impl.frameworks.sklearn", __name__)
MODEL_FILE = "saved_model.pkl"
DEFAULT_SIGNATURES = {"predict": {"batchable": False}}


def save_model(
    name: Tag | str,
    model: Any,
    *,
    signatures: dict[str, Any] | None = None,
    labels: dict[str, str] | None = None,
    custom_objects: dict[str, Any] | None = None,
    external_modules: list[ModuleType] | None = None,
    metadata: dict[str, Any] | None = None,
) -> Model:
    """Save an estimator or pipeline to the model store and return the stored model."""
    from sklearn.base import BaseEstimator

    if not isinstance(model, BaseEstimator):
        raise TypeError(f"Given model ({model}) is not a sklearn.base.BaseEstimator or sklearn.pipeline.Pipeline.")
    if signatures is None:
        signatures = DEFAULT_SIGNATURES
        logger.info('Using the default model signature for scikit-learn (%s) for model "%s".', signatures, name)
    with create(
        name,
        module=MODULE,
        api_version="v1",
        labels=labels,
        metadata=metadata,
        signatures=signatures,
        custom_objects=custom_objects,
        external_modules=external_modules,
        context=ModelContext("sklearn", {"scikit-learn": version("scikit-learn")}),
    ) as stored:
        joblib.dump(model, stored.path_of(MODEL_FILE))
    return stored


def load_model(bento_model: Tag | str | Model) -> Any:
    """Load a model that ``save_model`` saved, given by tag or as ``Model``."""
    stored = bento_model if isinstance(bento_model, Model) else get(bento_model)
    if stored.info.module not in MODULE_NAMES:
        raise NotFound(f"Model {stored.tag} was saved with module {stored.info.module}, not loading with {MODULE}.")
    return joblib.load(stored.path_of(MODEL_FILE))
