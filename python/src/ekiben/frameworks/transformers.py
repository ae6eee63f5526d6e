"""``bentoml.transformers``: pipelines, and whatever has ``save_pretrained`` and ``from_pretrained``."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Mapping
from typing import Any, Callable

from ..exceptions import BentoMLException
from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from . import hub, tensorflow
from .framework import Framework, Kept, option
from .runnables import GPU_OR_CPU, runnable_class, sees_gpu

__all__ = ["get", "get_runnable", "import_model", "load_model", "load_runner", "save_model"]

logger = logging.getLogger(__name__)

FRAMEWORK = Framework(
    "transformers",
    packages=("transformers",),
    api_version="v2",
    signatures={},
    options={"task": "", "tf": (), "pt": (), "default": {}, "type": None, "kwargs": {}},
)
# The class, pickled: of a pipeline, or of anything else.
PIPELINE_FILE = "pipeline.v2.pkl"
CLASS_FILE = "pretrained.v2.pkl"
# Where releases before 1.1 put the whole pipeline.
OLD_PIPELINE_FILE = "pipeline.v1.pkl"

PRETRAINED_CLASS = "_pretrained_class"
FRAMEWORK_KEY = "_framework"

# Class -> the methods that can be called. The first class that fits counts; not every release has each.
METHODS = {
    "PreTrainedTokenizerBase": """
        __call__ tokenize encode encode_plus batch_encode_plus pad create_token_type_ids_from_sequences
        build_inputs_with_special_tokens prepare_for_model truncate_sequences convert_tokens_to_string batch_decode
        decode get_special_tokens_mask clean_up_tokenization prepare_seq2seq_batch
        """,
    "PreTrainedModel": """
        __call__ forward generate contrastive_search greedy_search sample beam_search beam_sample group_beam_search
        constrained_beam_search
        """,
    "TFPreTrainedModel": """
        __call__ predict call generate compute_transition_scores greedy_search sample beam_search contrastive_search
        """,
    "FlaxPreTrainedModel": "__call__ generate",
    "image_processing_utils.BaseImageProcessor": "__call__ preprocess",
    "SequenceFeatureExtractor": "pad",
    "Pipeline": "__call__",
}
PROCESSOR_METHODS = "__call__ batch_decode decode"
# The classes of models, which know their framework.
MODEL_CLASSES = ("PreTrainedModel", "TFPreTrainedModel", "FlaxPreTrainedModel")
# The weights of other frameworks than the one wanted, which an import leaves out.
WEIGHTS = {"from_tf": "*.h5", "from_flax": "*.msgpack"}

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


def save_model(
    name: Tag | str,
    pretrained_or_pipeline: Any = None,
    pipeline: Any = None,
    task_name: str | None = None,
    task_definition: dict[str, Any] | None = None,
    *,
    signatures: dict[str, Any] | None = None,
    labels: dict[str, str] | None = None,
    custom_objects: dict[str, Any] | None = None,
    external_modules: list[Any] | None = None,
    metadata: dict[str, Any] | None = None,
    **save_kwargs: Any,
) -> Model:
    """Save a pipeline, model, tokenizer or processor; further keywords go to its ``save_pretrained``.

    A pipeline of a task of its own needs ``task_name`` and ``task_definition`` (``impl``, ``pt``, ``tf``, ``default``,
    ``type``). ``pipeline`` is the older name of ``pretrained_or_pipeline``.
    """
    transformers = FRAMEWORK.require("transformers")
    saved = pretrained_or_pipeline if pipeline is None else pipeline
    missing = [method for method in ("save_pretrained", "from_pretrained") if not hasattr(saved, method)]
    is_pipeline = isinstance(saved, transformers.Pipeline)
    if missing and not is_pipeline:
        raise BentoMLException(f"cannot save `{saved!r}`: it is no Transformers object, it has no `{missing[0]}`")
    if is_pipeline:
        options: Mapping[str, Any] = _pipeline_options(saved, task_name, task_definition)
        file = PIPELINE_FILE
    else:
        options, file = FRAMEWORK.options, CLASS_FILE
        metadata = {**(metadata or {}), **_described(transformers, saved)}
    if signatures is None:
        signatures = default_signatures(transformers, type(saved))
    kept: Kept = {"labels": labels, "custom_objects": custom_objects, "external_modules": external_modules}
    with FRAMEWORK.saving(
        name, options=options, signatures=signatures, metadata=metadata, versions=_versions(transformers), **kept
    ) as stored:
        saved.save_pretrained(stored.path, **save_kwargs)
        _pickle(type(saved), stored.path_of(file))
    return stored


def import_model(
    name: Tag | str,
    model_name_or_path: str | os.PathLike[str],
    *,
    proxies: dict[str, str] | None = None,
    revision: str = "main",
    force_download: bool = False,
    resume_download: bool = False,
    trust_remote_code: bool = False,
    clone_repository: bool = False,
    sync_with_hub_version: bool = False,
    signatures: dict[str, Any] | None = None,
    labels: dict[str, str] | None = None,
    custom_objects: dict[str, Any] | None = None,
    external_modules: list[Any] | None = None,
    metadata: dict[str, Any] | None = None,
    **extra_hf_hub_kwargs: Any,
) -> Model:
    """Save a model from a directory or a repository of the hub, without loading its weights.

    Unless ``clone_repository`` is given, the weights for other frameworks are left out.
    """
    tag = Tag.from_taglike(name)
    if (known := hub.existing(tag)) is not None:
        return known
    transformers = FRAMEWORK.require("transformers")
    others = [pattern for key, pattern in WEIGHTS.items() if not extra_hf_hub_kwargs.get(key)]
    directory = hub.fetch(
        FRAMEWORK,
        model_name_or_path,
        proxies=proxies,
        revision=revision,
        force_download=force_download,
        resume_download=resume_download,
        **({} if clone_repository else {"ignore_patterns": others}),
        **extra_hf_hub_kwargs,
    )
    if sync_with_hub_version:
        tag = hub.with_commit(tag, directory)
    model_class = _model_class(transformers, directory, trust_remote_code)
    metadata = {**(metadata or {}), **_described(transformers, model_class)}
    if signatures is None:
        signatures = default_signatures(transformers, model_class)
    kept: Kept = {"labels": labels, "custom_objects": custom_objects, "external_modules": external_modules}
    with FRAMEWORK.saving(
        tag, signatures=signatures, metadata=metadata, versions=_versions(transformers), **kept
    ) as stored:
        hub.copy(directory, stored.path)
        _pickle(model_class, stored.path_of(CLASS_FILE))
    return stored


def load_model(bento_model: Tag | str | Model, *args: Any, **kwargs: Any) -> Any:
    """Load what was saved; arguments go to ``from_pretrained``, or as keywords to ``transformers.pipeline``."""
    stored = FRAMEWORK.stored(bento_model)
    transformers = FRAMEWORK.require("transformers")
    if stored.info.api_version == "v1":
        return _load_old(transformers, stored, kwargs)
    if PRETRAINED_CLASS in stored.info.metadata:
        return _unpickle(stored.path_of(CLASS_FILE)).from_pretrained(stored.path, *args, **kwargs)
    if args:
        raise TypeError(f"model `{stored.tag}` is a pipeline: it is loaded with keywords only")
    pipeline_class = _unpickle(stored.path_of(PIPELINE_FILE))
    task = option(stored, "task", "")
    if task not in _supported_tasks():
        _register(transformers, task, pipeline_class, vars(stored.info.options))
        kwargs["trust_remote_code"] = True
    kwargs.setdefault("pipeline_class", pipeline_class)
    kwargs.update(option(stored, "kwargs") or {})
    return transformers.pipeline(task=task, model=stored.path, **kwargs)


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class of a pipeline, model, tokenizer or processor; models go to a GPU if there is one."""

    def load(self: Any) -> None:
        self.model = self.pipeline = _load_on_device(bento_model)
        self.predict_fns = {name: getattr(self.model, name) for name in bento_model.info.signatures}

    def method(name: str) -> Callable[..., Any]:
        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            return self.predict_fns[name](*args, **kwargs)

        return run

    return runnable_class("TransformersRunnable", bento_model, load, method, resources=GPU_OR_CPU)


def _load_on_device(model: Model) -> Any:
    """Load a model where it is to run: the first of the GPUs that the process sees, whatever its number outside."""
    metadata = model.info.metadata
    if PRETRAINED_CLASS not in metadata:
        return load_model(model, **({"device": 0} if sees_gpu() else {}))
    framework = metadata.get(FRAMEWORK_KEY)
    if framework in ("pt", "torch"):
        torch = FRAMEWORK.require("torch", install="torch")
        return load_model(model).to(torch.device("cuda" if sees_gpu() else "cpu"))
    if framework == "tf":
        with tensorflow.device(FRAMEWORK.require("tensorflow"), "/device:GPU:0" if sees_gpu() else "/device:CPU:0"):
            return load_model(model)
    return load_model(model)


def default_signatures(transformers: Any, pretrained_class: type) -> dict[str, Any]:
    """Return a signature for each method that objects of the class have for inference."""
    methods = ""
    if getattr(_lookup(transformers, "processing_utils"), "ProcessorMixin", None) in pretrained_class.__bases__:
        methods = PROCESSOR_METHODS
    else:
        for name, words in METHODS.items():
            base = _lookup(transformers, name)
            if base is not None and issubclass(pretrained_class, base):
                methods = words
                break
        else:
            logger.warning("cannot tell the signatures of `%s`: give them as `signatures`", pretrained_class)
    return {method: {"batchable": False} for method in methods.split()}


def _versions(transformers: Any) -> dict[str, str]:
    """Return the versions of the library and of the frameworks that it finds."""

    def has(framework: str) -> bool:
        check = getattr(transformers.utils, f"is_{framework}_available", None)
        return check is not None and check()

    versions = FRAMEWORK.versions()
    if has("torch"):
        versions["torch"] = FRAMEWORK.version("torch")
    if has("tf"):
        name = "tensorflow-macos" if platform.system() == "Darwin" else "tensorflow"
        versions[name] = FRAMEWORK.version(*tensorflow.DISTRIBUTIONS)
    if has("flax"):
        versions.update({package: FRAMEWORK.version(package) for package in ("flax", "jax", "jaxlib")})
    return versions


def _described(transformers: Any, pretrained: Any) -> dict[str, Any]:
    """Return what the metadata says about an object or class: its class, and of a model its framework."""
    pretrained_class = pretrained if isinstance(pretrained, type) else type(pretrained)
    described = {PRETRAINED_CLASS: pretrained_class.__name__}
    bases = tuple(base for base in (_lookup(transformers, name) for name in MODEL_CLASSES) if base is not None)
    if issubclass(pretrained_class, bases):
        framework = getattr(pretrained, "framework", None)
        if isinstance(framework, property):  # of a class; each of the three bases has one framework
            names = dict(zip(MODEL_CLASSES, ("pt", "tf", "flax")))
            framework = next(
                names[name] for name in MODEL_CLASSES if _is_subclass(pretrained_class, _lookup(transformers, name))
            )
        if framework is not None:
            described[FRAMEWORK_KEY] = framework
    return described


def _pipeline_options(pipeline: Any, task: str | None, definition: dict[str, Any] | None) -> dict[str, Any]:
    transformers = FRAMEWORK.require("transformers")
    if definition is None:
        check_task = FRAMEWORK.require("transformers.pipelines").check_task
        task, definition = check_task(pipeline.task if task is None else task)[:2]
    else:
        _check_definition(pipeline, task, definition)
        if task not in _supported_tasks():
            _register(transformers, str(task), definition["impl"], definition)
    default = definition.get("default") or {}
    return {
        "task": task,
        "tf": _class_names(definition.get("tf")),
        "pt": _class_names(definition.get("pt")),
        "default": {"_".join(key) if isinstance(key, tuple) else key: value for key, value in default.items()},
        "type": definition.get("type", "text"),
        "kwargs": {},
    }


def _check_definition(pipeline: Any, task: str | None, definition: dict[str, Any]) -> None:
    if task is None:
        raise BentoMLException("'task_definition' must be None if 'task_name' is not provided.")
    if pipeline.task != task:
        raise BentoMLException(f"Argument 'task_name' '{task}' does not match pipeline task name '{pipeline.task}'.")
    if "impl" not in definition:
        raise BentoMLException("'task_definition' requires 'impl' key.")
    if not isinstance(pipeline, definition["impl"]):
        raise BentoMLException(
            f"Argument 'pipeline' is not an instance of {definition['impl']}. It is an instance of {type(pipeline)}."
        )


def _register(transformers: Any, task: str, pipeline_class: type, definition: Mapping[str, Any]) -> None:
    """Tell the library about a task of its own, by class or by the names that a model's options have."""

    def classes(key: str) -> tuple[Any, ...]:
        found = definition.get(key) or ()
        found = found if isinstance(found, (list, tuple)) else (found,)
        return tuple(_auto_class(transformers, item) if isinstance(item, str) else item for item in found)

    default = definition.get("default") or None
    if default is not None and "model" not in default and ("pt" in default or "tf" in default):
        default = {"model": default}
    # Releases since 5 know no TensorFlow.
    of_tensorflow = {"tf_model": classes("tf")} if classes("tf") else {}
    FRAMEWORK.require("transformers.pipelines").PIPELINE_REGISTRY.register_pipeline(
        task,
        pipeline_class=pipeline_class,
        pt_model=classes("pt"),
        default=default,
        type=definition.get("type"),
        **of_tensorflow,
    )


def _auto_class(transformers: Any, name: str) -> Any:
    if not hasattr(transformers, name):
        raise BentoMLException(f"Given {name} is not a valid Transformers auto class.")
    return getattr(transformers, name)


def _class_names(classes: Any) -> tuple[str, ...]:
    if classes is None:
        return ()
    found = classes if isinstance(classes, (list, tuple)) else (classes,)
    return tuple(item if isinstance(item, str) else item.__qualname__ for item in found)


def _model_class(transformers: Any, directory: Any, trust_remote_code: bool) -> Any:
    """Return the class that a model's ``config.json`` names."""
    config = transformers.AutoConfig.from_pretrained(directory, trust_remote_code=trust_remote_code)
    names = [name for name in getattr(config, "auto_map", None) or {} if "AutoModel" in name]
    names += getattr(config, "architectures", None) or []
    found = next((getattr(transformers, name) for name in names if hasattr(transformers, name)), None)
    if found is None:
        raise BentoMLException(f"cannot tell the class of the model in `{directory}`: its `config.json` names none")
    return found


def _load_old(transformers: Any, stored: Model, kwargs: dict[str, Any]) -> Any:
    logger.warning("model `%s` is of an old form; save it again to be rid of this warning", stored.tag)
    if os.path.exists(stored.path_of(OLD_PIPELINE_FILE)):
        return _unpickle(stored.path_of(OLD_PIPELINE_FILE))
    kwargs.update(option(stored, "kwargs") or {})
    task = option(stored, "task", "")
    if task in _supported_tasks():
        return transformers.pipeline(task=task, model=stored.path, **kwargs)
    return transformers.pipeline(model=stored.path, **{**kwargs, "trust_remote_code": True})


def _supported_tasks() -> list[str]:
    return FRAMEWORK.require("transformers.pipelines").get_supported_tasks()


def _lookup(transformers: Any, path: str) -> Any:
    found = transformers
    for name in path.split("."):
        try:
            found = getattr(found, name, None)
        except ImportError:  # a lazy module of the library lacks what it needs
            return None
    return found


def _is_subclass(child: type, base: Any) -> bool:
    return base is not None and issubclass(child, base)


def _pickle(value: Any, path: str) -> None:
    with open(path, "wb") as file:
        FRAMEWORK.require("cloudpickle", install="cloudpickle").dump(value, file)


def _unpickle(path: str) -> Any:
    with open(path, "rb") as file:
        return FRAMEWORK.require("cloudpickle", install="cloudpickle").load(file)
