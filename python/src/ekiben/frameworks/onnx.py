"""``bentoml.onnx``: ONNX models, loaded as sessions of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..exceptions import BentoMLException
from ..models.model import Model
from ..tag import Tag
from .framework import Framework, Kept, saves

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "load_model", "save_model"]

FRAMEWORK = Framework("onnx", packages=("onnx",), api_version="v2", signatures={"run": {"batchable": False}})
MODEL_FILE = "saved_model.onnx"
# The distributions that hold the same `onnxruntime`, the preferred one first.
RUNTIMES = ("onnxruntime-gpu", "onnxruntime", "onnxruntime-silicon")

get = FRAMEWORK.get


@saves
def save_model(name: Tag | str, model: Any, **kept: Unpack[Kept]) -> Model:
    """Save a ``ModelProto`` to the model store and return the stored model."""
    onnx = FRAMEWORK.require("onnx")
    FRAMEWORK.require("onnxruntime", install="onnxruntime")
    if not isinstance(model, onnx.ModelProto):
        raise TypeError(f"Given model ({model}) is not a onnx.ModelProto.")
    methods = list(kept.get("signatures") or ["run"])
    if methods != ["run"]:
        raise BentoMLException(
            f"Provided method names {[method for method in methods if method != 'run']} are invalid: an "
            "'onnxruntime.InferenceSession', as which the model is loaded, has only 'run'."
        )
    as_mapping = FRAMEWORK.require("google.protobuf.json_format", install="protobuf").MessageToDict
    options = {
        "input_specs": {"run": [as_mapping(value) for value in model.graph.input]},
        "output_specs": {"run": [as_mapping(value) for value in model.graph.output]},
        "providers": None,
        "session_options": None,
    }
    runtime, runtime_version = FRAMEWORK.distribution(*RUNTIMES)
    versions = {**FRAMEWORK.versions(), runtime: runtime_version}
    with FRAMEWORK.saving(name, options=options, versions=versions, **kept) as stored:
        onnx.save(model, stored.path_of(MODEL_FILE))
    return stored


def load_model(
    bento_model: Tag | str | Model,
    *,
    providers: Sequence[str | tuple[str, dict[str, Any]]] | None = None,
    session_options: Any = None,
) -> Any:
    """Load an ``InferenceSession``; on the processor unless ``providers`` says otherwise."""
    stored = FRAMEWORK.stored(bento_model)
    runtime = FRAMEWORK.require("onnxruntime", install="onnxruntime")
    providers = list(providers or ["CPUExecutionProvider"])
    names = [provider if isinstance(provider, str) else provider[0] for provider in providers]
    if not set(names) <= set(runtime.get_all_providers()):
        raise BentoMLException(f"'{providers}' cannot be parsed by `onnxruntime`")
    return runtime.InferenceSession(stored.path_of(MODEL_FILE), sess_options=session_options, providers=providers)
