"""``bentoml.diffusers``: diffusion pipelines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from ..exceptions import BentoMLException
from ..models.model import Model
from ..runners.runnable import Runnable
from ..tag import Tag
from . import hub
from .framework import PARTIAL_KWARGS, Framework, Kept, option, saves
from .runnables import GPU_OR_CPU, partial_kwargs, runnable_class

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["get", "get_runnable", "import_model", "load_model", "load_runner", "save_model"]

FRAMEWORK = Framework("diffusers", packages=("diffusers",))
MODEL_FOLDER = "diffusion_model"
INDEX_FILE = "model_index.json"
INSTALL = "--upgrade diffusers transformers accelerate"
# Options of a model that was imported with some; all are written, in this order.
OPTIONS = """
    pipeline_class scheduler_class torch_dtype device_map custom_pipeline enable_xformers enable_attention_slicing
    enable_model_cpu_offload enable_sequential_cpu_offload enable_torch_compile low_cpu_mem_usage variant
    load_pretrained_extra_kwargs lora_dir lora_weights textual_inversions
    """.split()

get = FRAMEWORK.get
load_runner = FRAMEWORK.load_runner


@saves
def save_model(name: Tag | str, pipeline: Any, **kept: Unpack[Kept]) -> Model:
    """Save a pipeline to the model store and return the stored model."""
    diffusers = FRAMEWORK.require("diffusers", install=INSTALL)
    if not isinstance(pipeline, diffusers.DiffusionPipeline):
        raise BentoMLException("'pipeline' must be an instance of 'diffusers.DiffusionPipeline'. ")
    with FRAMEWORK.saving(name, versions=_versions(diffusers), **kept) as stored:
        pipeline.save_pretrained(stored.path_of(MODEL_FOLDER))
    return stored


@saves
def import_model(
    name: Tag | str,
    model_name_or_path: str | os.PathLike[str],
    *,
    proxies: dict[str, str] | None = None,
    revision: str = "main",
    variant: str | None = None,
    pipeline_class: Any = None,
    sync_with_hub_version: bool = False,
    **kept: Unpack[Kept],
) -> Model:
    """Save a pipeline from a directory or a repository of the hub, without loading it."""
    tag = Tag.from_taglike(name)
    if (known := hub.existing(tag)) is not None:
        return known
    diffusers = FRAMEWORK.require("diffusers", install=INSTALL)
    wanted = _class(pipeline_class) if pipeline_class else None
    if wanted is not None and not os.path.isdir(model_name_or_path):
        directory = Path(
            wanted.download(os.fspath(model_name_or_path), proxies=proxies, revision=revision, variant=variant)
        )
    else:
        directory = hub.fetch(FRAMEWORK, model_name_or_path, proxies=proxies, revision=revision)
    if not directory.joinpath(INDEX_FILE).is_file():
        raise BentoMLException(f'artifact "{directory}" is not a Diffusion model')
    if sync_with_hub_version:
        tag = hub.with_commit(tag, directory, suffix=f"-{variant}" if variant else "")
    given: dict[str, Any] = {"variant": variant} if variant else {}
    if wanted is not None:
        given["pipeline_class"] = f"{wanted.__module__}.{wanted.__name__}"
    options = {**PARTIAL_KWARGS, **dict.fromkeys(OPTIONS), **given} if given else {}
    with FRAMEWORK.saving(tag, options=options, versions=_versions(diffusers), **kept) as stored:
        hub.copy(directory, stored.path_of(MODEL_FOLDER))
    return stored


def load_model(
    bento_model: Tag | str | Model,
    device_id: Any = None,
    pipeline_class: Any = "diffusers.DiffusionPipeline",
    device_map: Any = None,
    custom_pipeline: str | None = None,
    scheduler_class: Any = None,
    torch_dtype: Any = None,
    low_cpu_mem_usage: bool | None = None,
    enable_xformers: bool = False,
    enable_attention_slicing: int | str | None = None,
    enable_model_cpu_offload: bool | None = None,
    enable_sequential_cpu_offload: bool | None = None,
    enable_torch_compile: bool | None = None,
    variant: str | None = None,
    lora_weights: Any = None,
    textual_inversions: Any = None,
    load_pretrained_extra_kwargs: dict[str, Any] | None = None,
) -> Any:
    """Load the pipeline and make it ready: where it runs, what it saves memory with, and what is laid over it.

    ``lora_weights`` and ``textual_inversions`` are a path of a file, a mapping with ``model_name`` and what else the
    pipeline's own method takes, or a list of those; of LoRA weights the first is taken.
    """
    stored = FRAMEWORK.stored(bento_model)
    FRAMEWORK.require("diffusers", install=INSTALL)
    wanted = _class(pipeline_class)
    _check_overlays(wanted, lora_weights, textual_inversions)
    pipeline = wanted.from_pretrained(
        stored.path_of(MODEL_FOLDER),
        torch_dtype=torch_dtype,
        low_cpu_mem_usage=_has_accelerate() if low_cpu_mem_usage is None else low_cpu_mem_usage,
        device_map=device_map,
        custom_pipeline=custom_pipeline,
        variant=variant,
        **(load_pretrained_extra_kwargs or {}),
    )
    if scheduler_class:
        pipeline.scheduler = _class(scheduler_class).from_config(pipeline.scheduler.config)
    is_placed = device_map is not None or enable_sequential_cpu_offload or enable_model_cpu_offload
    if device_id is not None and not (is_placed and str(device_id).lower().startswith("cuda")):
        pipeline = pipeline.to(device_id)
    if enable_xformers:
        pipeline.enable_xformers_memory_efficient_attention()
    if enable_sequential_cpu_offload:
        pipeline.enable_sequential_cpu_offload()
    if enable_model_cpu_offload:
        pipeline.enable_model_cpu_offload()
    if enable_attention_slicing is not None:
        pipeline.enable_attention_slicing(enable_attention_slicing)
    if enable_torch_compile:
        torch = FRAMEWORK.require("torch", install="torch")
        pipeline.unet = torch.compile(pipeline.unet, mode="reduce-overhead", fullgraph=True)
    if lora_weights:
        first = lora_weights[0] if isinstance(lora_weights, list) else lora_weights
        model_name, arguments = _lora(first)
        pipeline.load_lora_weights(model_name, **arguments)
    if textual_inversions:
        for inversion in textual_inversions if isinstance(textual_inversions, list) else [textual_inversions]:
            model_name, arguments = _named(inversion) or (".", {"weight_name": inversion})
            pipeline.load_textual_inversion(model_name, **arguments)
    return pipeline


def get_runnable(bento_model: Model) -> type[Runnable]:
    """Return the runnable class of a pipeline; its calls take ``lora_weights`` where the pipeline can load some."""
    diffusers = FRAMEWORK.require("diffusers", install=INSTALL)
    torch = FRAMEWORK.require("torch", install="torch")
    given = {name: option(bento_model, name) for name in OPTIONS}
    lora_dir = given.pop("lora_dir")
    wanted = given["pipeline_class"] = _class(given["pipeline_class"] or "diffusers.DiffusionPipeline")
    _check_overlays(wanted, given["lora_weights"], given["textual_inversions"])

    def load(self: Any) -> None:
        has_gpu = torch.cuda.is_available()
        chosen = dict(given)
        if has_gpu and chosen["torch_dtype"] is None:
            chosen["torch_dtype"] = torch.float16
        chosen["enable_xformers"] = bool(chosen["enable_xformers"])
        self.pipeline = load_model(bento_model, device_id="cuda" if has_gpu else None, **chosen)

    def method(name: str) -> Callable[..., Any]:
        added = partial_kwargs(bento_model, name)

        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            arguments = {**added, **kwargs}
            takes_weights = hasattr(wanted, "load_lora_weights")
            with _weights(
                torch, self.pipeline, arguments.pop("lora_weights", None) if takes_weights else None, lora_dir
            ):
                result = getattr(self.pipeline, name)(*args, **arguments)
            return result.to_tuple() if isinstance(result, diffusers.utils.BaseOutput) else result

        return run

    made = runnable_class("DiffusersRunnable", bento_model, load, method, resources=GPU_OR_CPU)
    made.add_method(_replace_scheduler, name="_replace_scheduler")
    return made


def _replace_scheduler(self: Any, scheduler_txt: str) -> dict[str, Any]:
    """Give the pipeline another scheduler, by the name of its class; say whether that was possible."""
    try:
        scheduler_class = _class(scheduler_txt)
        scheduler = self.pipeline.scheduler
        if not isinstance(scheduler, scheduler_class):
            if scheduler_class not in scheduler.compatibles:
                return {"success": False, "error_message": "scheduler class is incompatible to this pipeline"}
            self.pipeline.scheduler = scheduler_class.from_config(scheduler.config)
    except (ImportError, ValueError, AttributeError):
        return {"success": False, "error_message": "cannot import scheduler class"}
    return {"success": True}


@contextmanager
def _weights(torch: Any, pipeline: Any, given: Any, directory: str | None) -> Iterator[None]:
    """Lay LoRA weights over the pipeline for the length of a call."""
    try:
        if given is not None:
            first = given[0] if isinstance(given, list) else given
            if directory is not None and isinstance(first, str):
                first = os.path.join(directory, first)
            model_name, arguments = _lora(first)
            pipeline.load_lora_weights(model_name, **arguments)
        yield
    finally:
        if given is not None:
            pipeline.unload_lora_weights()
            torch.cuda.empty_cache()


def _check_overlays(pipeline_class: Any, lora_weights: Any, textual_inversions: Any) -> None:
    """Refuse weights and inversions that pipelines of the class cannot take."""
    for given, method in ((lora_weights, "load_lora_weights"), (textual_inversions, "load_textual_inversion")):
        if given and not hasattr(pipeline_class, method):
            raise NotImplementedError(f"pipelines of {pipeline_class} have no `{method}`")


def _versions(diffusers: Any) -> dict[str, str]:
    return {"diffusers": diffusers.__version__}


def _class(named: Any) -> Any:
    """Return a class given itself or by name; a name without module is one of the library's."""
    if not isinstance(named, str):
        return named
    module, _, name = named.rpartition(".")
    return getattr(import_module(module or "diffusers"), name)


def _has_accelerate() -> bool:
    from importlib.util import find_spec

    return find_spec("accelerate") is not None


def _named(given: Any) -> tuple[str, dict[str, Any]] | None:
    """Return the name and the other arguments of a mapping; None for what is no mapping."""
    if isinstance(given, str):
        return None
    arguments = dict(given)
    return arguments.pop("model_name"), arguments


def _lora(given: Any) -> tuple[str, dict[str, Any]]:
    """Return what ``load_lora_weights`` takes: a file's directory and name, or a repository's and the file in it."""
    if (named := _named(given)) is not None:
        return named
    path = os.path.abspath(os.path.expanduser(given.strip()))
    if os.path.exists(path):
        return os.path.dirname(path), {"weight_name": os.path.basename(path)}
    owner, _, rest = given.strip().partition("/")
    repository, _, file = rest.partition("/")
    if not file:
        raise ValueError(f"{given} is not a valid huggingface LoRA path")
    return f"{owner}/{repository}", {"weight_name": file}
