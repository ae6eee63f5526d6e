"""Runnables of frameworks that are too large to install, on stand-ins, and where models are put when there is a GPU.

``interop/frameworks/test_runners.py`` has the real ones of all others.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from typing import Any

import bentoml
import numpy as np
import pandas as pd
import pytest

from ekiben import exports


class Tensor:
    """A tensor that is an array."""

    def __init__(self, values: Any, dtype: str | None = None):
        self.values = np.asarray(values, dtype=dtype)

    def numpy(self) -> np.ndarray:
        return self.values


class TensorSpec:
    def __init__(self, name: str, dtype: str):
        self.name, self.dtype = name, dtype


class Library(types.ModuleType):
    """TensorFlow, as far as runners need it; ``devices`` notes which was used."""

    def __init__(self, gpus: int = 0):
        super().__init__("tensorflow")
        self.devices: list[str] = []
        self.Tensor, self.TensorSpec, self.convert_to_tensor = Tensor, TensorSpec, Tensor
        self.config = types.SimpleNamespace(list_physical_devices=lambda kind: [kind] * gpus)

    def device(self, name: str) -> Any:
        self.devices.append(name)
        return contextlib.nullcontext()

    @staticmethod
    def constant(value: Any, dtype: str, name: str) -> Tensor:
        return Tensor(value, dtype)

    @staticmethod
    def cast(value: Tensor, dtype: str, name: str) -> Tensor:
        return Tensor(value.values, dtype)


def runner(
    monkeypatch: pytest.MonkeyPatch,
    framework: str,
    loaded: Any,
    methods: tuple[str, ...],
    options: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
) -> tuple[Any, list[Any]]:
    """Return a runner of a model that ``load_model`` gives, and the keywords that it was loaded with."""
    loads: list[Any] = []

    def load_model(model: Any, **keywords: Any) -> Any:
        loads.append(keywords)
        return loaded

    monkeypatch.setattr(exports.load(framework), "load_model", load_model)
    signatures: dict[str, Any] = {name: {} for name in methods}
    module = f"bentoml.{framework}"
    with bentoml.models.create("m", module=module, signatures=signatures, options=options, metadata=metadata):
        pass
    made = getattr(bentoml, framework).get("m").to_runner()
    assert loads == []
    made.init_local(quiet=True)
    return made, loads


class Function:
    """A function of a SavedModel that takes tensors of 32 bits only."""

    structured_input_signature = ((TensorSpec("left", "float32"), TensorSpec("right", "int32")), {})

    def __init__(self) -> None:
        self.concrete_functions = [types.SimpleNamespace(structured_input_signature=self.structured_input_signature)]

    def __call__(self, left: Any, right: Any) -> Any:
        if not (isinstance(left, Tensor) and left.values.dtype == "float32" and right.values.dtype == "int32"):
            raise ValueError("the arguments do not fit")
        return [Tensor(left.values + right.values), Tensor(right.values)]


@pytest.mark.parametrize(("gpus", "device"), [(0, "/device:CPU:0"), (2, "/device:GPU:0")])
def test_tensorflow(gpus: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(gpus)
    monkeypatch.setitem(sys.modules, "tensorflow", library)
    loaded = types.SimpleNamespace(add=Function(), double=lambda value, by=2: Tensor(np.asarray(value) * by))
    partial = {"partial_kwargs": {"double": {"by": 3}}}
    made, loads = runner(monkeypatch, "tensorflow", loaded, ("add", "double"), partial)
    assert loads == [{"device_name": device}]
    total, right = made.add.run([1.5, 2.5], right=Tensor([1.0, 2.0]))
    assert (total.tolist(), right.tolist(), total.dtype) == ([2.5, 4.5], [1, 2], "float64")
    assert made.double.run([1, 2]).tolist() == [3, 6]
    assert made.double.run([1, 2], by=1).tolist() == [1, 2]
    assert set(library.devices) == {device}
    with pytest.raises(TypeError, match="missing a required argument: 'right'"):
        exports.load("tensorflow")._call(library, strict, (1,), {})
    loaded.double = refuse
    with pytest.raises(ValueError, match="^no signature, no second try$"):
        made.double.run(1)


def refuse(value: Any, by: int) -> Any:
    raise ValueError("no signature, no second try")


def strict(*args: Any) -> Any:
    raise ValueError("the arguments do not fit")


strict.structured_input_signature = Function.structured_input_signature  # type: ignore[attr-defined]


def test_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", Library())
    calls: list[Any] = []

    class Model:
        def predict(self, inputs: Any, verbose: int = 1) -> Any:
            calls.append((inputs, verbose))
            return Tensor(inputs.values * 2) if isinstance(inputs, Tensor) else [value.values for value in inputs]

    made, loads = runner(monkeypatch, "keras", Model(), ("predict",), {"partial_kwargs": {"predict": {"verbose": 0}}})
    assert loads == [{"device_name": "/device:CPU:0"}]
    assert made.run(np.array([1, 2])).tolist() == [2, 4]
    given = Tensor([5])
    assert [array.tolist() for array in made.run([1], given)] == [[1], [5]]
    assert calls[1][0][1] is given
    assert [verbose for _, verbose in calls] == [0, 0]


def test_flax(monkeypatch: pytest.MonkeyPatch) -> None:
    library = types.SimpleNamespace(
        default_backend=lambda: "tpu", numpy=types.SimpleNamespace(asarray=lambda value: ("jax", value.tolist()))
    )
    monkeypatch.setitem(sys.modules, "jax", library)

    class Module:
        def score(self, argument: Any, scale: int = 1) -> Any:
            return (argument, scale)

        def apply(self, variables: Any, argument: Any, method: Any) -> Any:
            return (variables, *method(argument))

    options = {"partial_kwargs": {"score": {"scale": 7}}}
    made, loads = runner(monkeypatch, "flax", (Module(), {"params": "weights"}), ("score",), options)
    assert loads == [{"device": "tpu"}]
    weights = {"params": "weights"}
    assert made.run(np.array([1, 2])) == (weights, ("jax", [1, 2]), 7)
    assert made.run(pd.DataFrame([[1]]), "as it is") == (weights, (("jax", [[1]]), "as it is"), 7)
    assert made.runnable_class.SUPPORTED_RESOURCES == ("tpu", "nvidia.com/gpu", "cpu")


def test_easyocr(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = types.SimpleNamespace(readtext=lambda image, detail=1: (image, detail))
    made, loads = runner(monkeypatch, "easyocr", reader, ("readtext",))
    assert loads == [{}]
    assert made.run("image", detail=0) == ("image", 0)


class Torch(types.SimpleNamespace):
    """PyTorch on a GPU or without one."""

    def __init__(self, has_gpu: bool):
        super().__init__(
            Tensor=type("Tensor", (), {"to": lambda self, device: ("moved", device)}),
            cuda=types.SimpleNamespace(is_available=lambda: has_gpu),
            inference_mode=contextlib.nullcontext,
            get_default_dtype=lambda: "float32",
            tensor=lambda value, dtype, device: (value.tolist(), dtype, device),
            device=lambda name: f"the {name}",
            defaults=[],
        )

    def set_default_device(self, name: str) -> None:
        self.defaults.append(name)


@pytest.mark.parametrize(("has_gpu", "device"), [(False, "cpu"), (True, "cuda")])
def test_detectron(has_gpu: bool, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = Torch(has_gpu)
    monkeypatch.setitem(sys.modules, "torch", torch)

    class Module:
        def train(self, mode: bool) -> None:
            self.mode = mode

        def __call__(self, images: Any, **keywords: Any) -> Any:
            return (images, keywords)

    loaded = Module()
    options = {"partial_kwargs": {"__call__": {"size": 3}}}
    made, loads = runner(monkeypatch, "detectron", loaded, ("__call__",), options, {"_is_predictor": False})
    assert (loads, loaded.mode, torch.defaults) == ([{"device_id": device}], False, ["cuda"] if has_gpu else [])
    images, keywords = made.run(np.array([1]), torch.Tensor())
    assert images == [{"image": ([1], "float32", device)}, {"image": ("moved", device)}]
    assert keywords == {"size": 3}
    predictor, _ = runner(monkeypatch, "detectron", lambda image, **_keywords: image, ("__call__",), {})
    assert predictor.run("as it is") == "as it is"


@pytest.mark.parametrize(
    ("visible", "device"), [(None, None), ("", None), ("-1", None), ("3", 0), ("2,3", 0), ("GPU-4f", 0)]
)
def test_transformers_pipelines_take_the_first_gpu(
    visible: str | None, device: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    made, loads = runner(monkeypatch, "transformers", str.upper, ("__call__",))
    assert made.run("text") == "TEXT"
    assert loads == [{} if device is None else {"device": device}]


@pytest.mark.parametrize(
    ("version", "gpus", "threads", "expected"),
    [
        ("3.2.0", "0", None, {"device": "cuda:0"}),
        ("1.7.6", "0", None, {"predictor": "gpu_predictor", "gpu_id": 0}),
        ("3.2.0", "", None, {"nthread": 1}),
        ("3.2.0", "-1", "4", {"nthread": 4}),
        ("1.7.6", "", "0", {"predictor": "cpu_predictor", "nthread": 1}),
    ],
)
def test_where_xgboost_predicts(
    version: str, gpus: str, threads: str | None, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.setenv("OMP_NUM_THREADS", threads or "")
    assert importlib.import_module("ekiben.frameworks.xgboost")._place(version) == expected
