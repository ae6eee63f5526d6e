"""Stand-ins for frameworks that cannot be installed for a test: the calls that saving and loading make, recorded.

Each does with files what the real one does, as simply as possible. ``install`` puts them where ``import`` finds them.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

# What the calls were, with their arguments as text.
CALLS: list[str] = []

# Distribution -> version, for those who ask for the version of what is installed.
VERSIONS = {
    "detectron2": "0.6",
    "diffusers": "0.30.0",
    "easyocr": "1.7.1",
    "fastai": "2.7.14",
    "fastcore": "1.5.29",
    "flax": "0.8.5",
    "jax": "0.4.30",
    "jaxlib": "0.4.30",
    "keras": "3.5.0",
    "tensorflow": "2.17.0",
    "torch": "2.4.0",
}


def record(name: str, *arguments: Any, **keywords: Any) -> None:
    """Note a call."""
    shown = [show(value) for value in arguments] + [f"{key}={show(value)}" for key, value in sorted(keywords.items())]
    CALLS.append(f"{name}({', '.join(shown)})")


def show(value: Any) -> str:
    """Return an argument as text that is the same in every process."""
    if isinstance(value, types.ModuleType):
        return f"module {value.__name__}"
    if hasattr(value, "read"):
        return f"file {value.name}"
    if isinstance(value, (str, os.PathLike)):
        return repr(os.fspath(value))
    return repr(value) if isinstance(value, (int, float, bool, type(None), dict, list, tuple)) else type(value).__name__


def module(name: str, **contents: Any) -> types.ModuleType:
    """Make a module importable, with classes and functions that seem to be its own."""
    made = types.ModuleType(name)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    made.__path__ = []
    for key, value in contents.items():
        if isinstance(value, type):
            value.__module__, value.__qualname__, value.__name__ = name, key, key
        setattr(made, key, value)
    sys.modules[name] = made
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, made)
    return made


class Plain:
    """An object that is what it holds."""

    def __init__(self, **values: Any):
        self.__dict__.update(values)


def write(path: str | os.PathLike[str], content: Any) -> None:
    """Write something as a file that is the same each time."""
    Path(path).write_text(json.dumps(content, sort_keys=True))


def install_torch() -> None:
    """Of PyTorch, what its users import."""

    class Module:
        def __init__(self, weights: Any = None):
            self.weights = weights

        def eval(self) -> Any:
            return self

        def to(self, _device: Any) -> Any:
            return self

    class Tensor:
        pass

    @contextlib.contextmanager
    def inference_mode(*_arguments: Any) -> Any:
        yield

    class ScriptModule(Module):
        pass

    module(
        "torch",
        __version__=VERSIONS["torch"],
        Tensor=Tensor,
        ScriptModule=ScriptModule,
        inference_mode=inference_mode,
        device=lambda name: name,
    )
    module("torch.cuda", is_available=lambda: False, device_count=lambda: 0)
    module("torch.nn", Module=Module)
    module("torch.jit", ScriptModule=ScriptModule)


def install_tensorflow() -> None:
    """Of TensorFlow, saving and loading in a directory."""

    def save(model: Any, path: str, signatures: Any = None, options: Any = None) -> None:
        record("tf.saved_model.save", model, path, signatures=signatures, options=options)
        write(Path(path, "saved_model.pb"), model.weights)

    def load(path: str) -> Any:
        record("tf.saved_model.load", path)
        return json.loads(Path(path, "saved_model.pb").read_text())

    @contextlib.contextmanager
    def device(name: str) -> Any:
        record("tf.device", name)
        yield

    class Function:
        function_spec = "made by tf.function"

    class TfModule:
        def __init__(self, weights: Any):
            self.weights = weights
            self.classify = Function()
            self._default_save_signature = Function()

    module(
        "tensorflow",
        __version__=VERSIONS["tensorflow"],
        device=device,
        Module=TfModule,
        Function=Function,
        executing_eagerly=lambda: False,
    )
    module("tensorflow.saved_model", save=save, load=load)
    module("tensorflow.config", list_physical_devices=lambda kind: [f"the {kind}"])
    module(
        "tensorflow.config.experimental",
        set_memory_growth=lambda *arguments: record("set_memory_growth", *arguments),
        set_visible_devices=lambda *arguments: None,
    )


def install_keras() -> None:
    """Of Keras, a model that writes a directory."""

    class Model:
        def __init__(self, weights: Any):
            self.weights = weights

        def save(self, path: str, **keywords: Any) -> None:
            record("keras.Model.save", path, **keywords)
            write(Path(path, "config.json"), self.weights)

    class Sequential(Model):
        pass

    def load_model(path: str, custom_objects: Any = None) -> Any:
        record("keras.models.load_model", path, custom_objects=custom_objects)
        return json.loads(Path(path, "config.json").read_text())

    module("keras", __version__=VERSIONS["keras"], Model=Model, Sequential=Sequential)
    module("keras.models", load_model=load_model)


def install_flax() -> None:
    """Of Flax and JAX, a module and bytes of its state."""

    class Module:
        def __init__(self, size: int):
            self.size = size

    def to_bytes(state: Any) -> bytes:
        record("flax.serialization.to_bytes", state)
        return json.dumps(state).encode()

    def from_bytes(target: Any, content: bytes) -> Any:
        record("flax.serialization.from_bytes", target)
        return json.loads(content)

    def tree_map(function: Any, tree: Any) -> Any:
        return {key: function(value) for key, value in tree.items()}

    module("flax")
    module("flax.linen", Module=Module)
    module("flax.serialization", to_bytes=to_bytes, from_bytes=from_bytes)
    module("jaxlib")
    module("msgpack")
    module("msgpack.exceptions", ExtraData=type("ExtraData", (Exception,), {}))
    module(
        "jax",
        devices=lambda kind: [f"{kind}:0"],
        device_put=lambda value, place: ["put", value, place],
        Array=type("Array", (), {}),
    )
    module("jax.tree_util", tree_map=tree_map)
    module("jax.numpy", array=lambda value: ["array", value], ndarray=type("ndarray", (), {}))
    module("jax.extend")
    module("jax.extend.backend")


def install_fastai() -> None:
    """Of fastai, a learner that pickles itself."""

    class Learner:
        def __init__(self, weights: Any):
            self.weights = weights

        def export(self, path: str, pickle_module: Any = None) -> None:
            record("Learner.export", path, pickle_module=pickle_module)
            write(path, self.weights)

    def load_learner(file: Any, cpu: bool = False) -> Any:
        record("load_learner", file, cpu=cpu)
        return json.loads(file.read())

    module("fastai")
    module("fastai.learner", Learner=Learner, load_learner=load_learner)
    module("fastai.basics")


def install_easyocr() -> None:
    """Of EasyOCR, a reader."""

    class Reader:
        def __init__(self, languages: list[str]):
            self.languages = languages

    module("easyocr", Reader=Reader)


def install_detectron() -> None:
    """Of Detectron2, a predictor and a checkpointer."""

    class CfgNode(Plain):
        pass

    class DefaultPredictor:
        def __init__(self, cfg: Any):
            self.cfg = cfg
            self.model = build_model(cfg)

    class Checkpointer:
        def __init__(self, model: Any, save_dir: str = ""):
            record("Checkpointer", model, save_dir)
            self.model, self.save_dir = model, save_dir

        def save(self, name: str) -> None:
            record("Checkpointer.save", name)
            write(Path(self.save_dir, f"{name}.pth"), self.model.weights)
            Path(self.save_dir, "last_checkpoint").write_text(f"{name}.pth")

    class DetectionCheckpointer(Checkpointer):
        def load(self, path: str) -> None:
            record("DetectionCheckpointer.load", path)
            self.model.weights = json.loads(Path(path).read_text())

    def build_model(cfg: Any) -> Any:
        record("build_model", cfg.MODEL.DEVICE)
        return sys.modules["torch.nn"].Module(cfg.WEIGHTS)

    module("detectron2")
    module("detectron2.config", CfgNode=CfgNode)
    module("detectron2.engine", DefaultPredictor=DefaultPredictor)
    module("detectron2.checkpoint", Checkpointer=Checkpointer, DetectionCheckpointer=DetectionCheckpointer)
    module("detectron2.modeling", build_model=build_model)


def install_diffusers() -> None:
    """Of Diffusers, a pipeline in a directory."""

    class DiffusionPipeline:
        def __init__(self, weights: Any):
            self.weights = weights
            self.scheduler = Plain(config={"steps": 20})

        def save_pretrained(self, path: str) -> None:
            record("DiffusionPipeline.save_pretrained", path)
            Path(path).mkdir(exist_ok=True)
            write(Path(path, "model_index.json"), self.weights)

        @classmethod
        def from_pretrained(cls, path: str, **keywords: Any) -> Any:
            record("DiffusionPipeline.from_pretrained", path, **keywords)
            return cls(json.loads(Path(path, "model_index.json").read_text()))

        def to(self, device: str) -> Any:
            record("DiffusionPipeline.to", device)
            return self

        def enable_attention_slicing(self, size: Any) -> None:
            record("DiffusionPipeline.enable_attention_slicing", size)

        def enable_model_cpu_offload(self) -> None:
            record("DiffusionPipeline.enable_model_cpu_offload")

    class SchedulerMixin:
        @classmethod
        def from_config(cls, config: Any) -> Any:
            record("SchedulerMixin.from_config", config)
            return cls()

    class LoraLoaderMixin:
        def load_lora_weights(self, name: str, **keywords: Any) -> None:
            record("load_lora_weights", name, **keywords)

    class TextualInversionLoaderMixin:
        def load_textual_inversion(self, name: str, **keywords: Any) -> None:
            record("load_textual_inversion", name, **keywords)

    class StableDiffusionPipeline(DiffusionPipeline, LoraLoaderMixin, TextualInversionLoaderMixin):
        pass

    module(
        "diffusers",
        __version__=VERSIONS["diffusers"],
        DiffusionPipeline=DiffusionPipeline,
        SchedulerMixin=SchedulerMixin,
        StableDiffusionPipeline=StableDiffusionPipeline,
    )
    module("diffusers.pipelines", DiffusionPipeline=DiffusionPipeline)
    module(
        "diffusers.loaders",
        LoraLoaderMixin=LoraLoaderMixin,
        TextualInversionLoaderMixin=TextualInversionLoaderMixin,
    )
    module("diffusers.utils")
    module(
        "diffusers.utils.import_utils",
        is_accelerate_available=lambda: False,
        is_torch_version=lambda *_arguments: True,
        is_xformers_available=lambda: False,
    )
    # Defined last: the second `module` call has made these classes those of another module.
    for pipeline in (DiffusionPipeline, StableDiffusionPipeline):
        pipeline.__module__ = "diffusers"


def install(metadata: Path) -> None:
    """Make all of them importable, and their distributions seem installed."""
    for installer in (
        install_torch,
        install_tensorflow,
        install_keras,
        install_flax,
        install_fastai,
        install_easyocr,
        install_detectron,
        install_diffusers,
    ):
        installer()
    for name, version in VERSIONS.items():
        directory = metadata / f"{name}-{version}.dist-info"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    sys.path.append(str(metadata))
