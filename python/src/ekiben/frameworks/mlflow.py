"""``bentoml.mlflow``: MLflow models, taken from where MLflow keeps them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from ..exceptions import BentoMLException
from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from .framework import Framework, Kept, saves
from .runnables import runnable_class

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "get_runnable", "import_model", "load_model", "load_runner", "save_model"]

FRAMEWORK = Framework("mlflow", packages=("mlflow",), signatures={"predict": {"batchable": False}})
MODEL_FOLDER = "mlflow_model"
# The flavor that `load_model` needs.
FLAVOR = "python_function"

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


@saves
def import_model(name: Tag | str, model_uri: str, **kept: Unpack[Kept]) -> Model:
    """Save an MLflow model, named by a path or any URI that MLflow resolves, and return the stored model."""
    mlflow = FRAMEWORK.require("mlflow")
    signatures = kept.get("signatures")
    if signatures is not None and list(signatures) != ["predict"]:
        raise BentoMLException(
            f"MLflow pyfunc model support only the `predict` method, signatures={signatures} is not supported"
        )
    artifacts = FRAMEWORK.require("mlflow.artifacts")
    with FRAMEWORK.saving(name, versions={"mlflow": mlflow.__version__}, **kept) as stored:
        folder = Path(stored.path_of(MODEL_FOLDER))
        # Inside of the model's directory, so that moving costs nothing however large the model is.
        download = tempfile.mkdtemp(dir=stored.path)
        try:
            shutil.move(artifacts.download_artifacts(artifact_uri=str(model_uri), dst_path=download), folder)
        finally:
            shutil.rmtree(download, ignore_errors=True)
        _check(folder, model_uri)
    return stored


# Upstream has no other way to save one; the name that all other modules have is an alias.
save_model = import_model


def load_model(bento_model: Tag | str | Model) -> Any:
    """Load the model as a ``PyFuncModel``, given by tag or as ``Model``."""
    stored = FRAMEWORK.stored(bento_model)
    return FRAMEWORK.require("mlflow.pyfunc").load_model(stored.path_of(MODEL_FOLDER))


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class of a model, whose only method is ``predict``."""

    def load(self: Any) -> None:
        self.model = load_model(bento_model)

    def method(name: str) -> Callable[..., Any]:
        def run(self: Any, input_data: Any) -> Any:
            return getattr(self.model, name)(input_data)

        return run

    return runnable_class("MLflowPyfuncRunnable", bento_model, load, method)


def _check(folder: Path, model_uri: str) -> None:
    if not folder.joinpath("MLmodel").is_file():
        raise BentoMLException(f'artifact "{model_uri}" is not a MLflow model')
    if FLAVOR not in FRAMEWORK.require("mlflow.models").Model.load(str(folder)).flavors:
        raise BentoMLException(f'MLflow model "{model_uri}" does not support the required python_function flavor')
