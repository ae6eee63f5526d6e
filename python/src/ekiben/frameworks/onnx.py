"""``bentoml.onnx``: ONNX models, loaded as sessions of ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable

from ..exceptions import BentoMLException
from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from .framework import Framework, Kept, option, saves
from .onnx_inputs import caster
from .runnables import GPU_OR_CPU, runnable_class, sees_gpu, thread_count

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "get_runnable", "load_model", "load_runner", "save_model"]

logger = logging.getLogger(__name__)

FRAMEWORK = Framework("onnx", packages=("onnx",), api_version="v2", signatures={"run": {"batchable": False}})
MODEL_FILE = "saved_model.onnx"
# The distributions that hold the same `onnxruntime`, the preferred one first.
RUNTIMES = ("onnxruntime-gpu", "onnxruntime", "onnxruntime-silicon")

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


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


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class of a graph: inputs by position, cast as the graph wants them, one output or a tuple."""
    runtime = FRAMEWORK.require("onnxruntime", install="onnxruntime")
    specs = _input_specs(bento_model)

    def load(self: Any) -> None:
        providers, session_options = _place(runtime, bento_model)
        self.model = load_model(bento_model, providers=providers, session_options=session_options)
        self.predict_fns = {name: getattr(self.model, name) for name in bento_model.info.signatures}

    def method(name: str) -> Callable[..., Any]:
        casters = [caster(spec["type"]) for spec in specs[name]]

        def run(self: Any, *args: Any) -> Any:
            if len(args) != len(casters):
                raise TypeError(f"`{name}` of model `{bento_model.tag}` takes {len(casters)} inputs, not {len(args)}")
            inputs = {node.name: cast(value) for node, cast, value in zip(self.model.get_inputs(), casters, args)}
            outputs = self.predict_fns[name]([node.name for node in self.model.get_outputs()], inputs)
            return tuple(outputs) if len(outputs) > 1 else outputs[0]

        return run

    return runnable_class("ONNXRunnable", bento_model, load, method, resources=GPU_OR_CPU)


def _input_specs(model: Model) -> dict[str, Any]:
    """Return what the graph takes, by method; models of the first version of the format do not say it."""
    found = option(model, "input_specs")
    if not found:
        as_mapping = FRAMEWORK.require("google.protobuf.json_format", install="protobuf").MessageToDict
        graph = FRAMEWORK.require("onnx").load(model.path_of(MODEL_FILE)).graph
        return {"run": [as_mapping(value) for value in graph.input]}
    return found


def _place(runtime: Any, model: Model) -> tuple[list[Any], Any]:
    """Return the providers and session options: a GPU where there is one, else as many threads as are allowed."""
    options = option(model, "session_options") or runtime.SessionOptions()
    given = option(model, "providers")
    if sees_gpu():
        return given or ["CUDAExecutionProvider", "CPUExecutionProvider"], options
    options.execution_mode = runtime.ExecutionMode.ORT_PARALLEL
    for threads in ("intra_op_num_threads", "inter_op_num_threads"):
        if getattr(options, threads) != 0:
            logger.warning("Overriding specified 'session_options.%s'.", threads)
        setattr(options, threads, thread_count("BENTOML_NUM_THREAD", 1))
    return given or ["CPUExecutionProvider"], options
