"""The framework modules: what all of them do alike, and scikit-learn. ``interop`` has real models of the others."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import bentoml
import pytest
from bentoml.exceptions import BentoMLException, MissingDependencyException, NotFound

from ekiben import exports
from ekiben.frameworks import FRAMEWORKS

datasets = importlib.import_module("sklearn.datasets")
linear_model = importlib.import_module("sklearn.linear_model")


@pytest.fixture
def classifier() -> object:
    return linear_model.LogisticRegression(max_iter=500).fit(*datasets.load_iris(return_X_y=True))


def test_save_and_load(classifier: object) -> None:
    import sklearn

    saved = bentoml.sklearn.save_model("iris", classifier, metadata={"acc": 0.9})
    info = bentoml.models.get("iris").info
    assert (info.module, info.api_version, info.context.framework_name) == ("bentoml.sklearn", "v1", "sklearn")
    assert info.context.framework_versions == {"scikit-learn": sklearn.__version__}
    assert {name: signature.to_dict() for name, signature in info.signatures.items()} == {
        "predict": {"batchable": False}
    }
    features = datasets.load_iris().data
    expected = classifier.predict(features).tolist()
    assert bentoml.sklearn.load_model("iris:latest").predict(features).tolist() == expected
    assert bentoml.sklearn.load_model(saved).predict(features).tolist() == expected
    model = bentoml.sklearn.get("iris")
    assert model.load_model() is model.load_model()


def test_other_objects_are_refused() -> None:
    with pytest.raises(TypeError, match="is not a sklearn.base.BaseEstimator"):
        bentoml.sklearn.save_model("x", object())


def test_a_model_of_another_module_is_refused() -> None:
    with bentoml.models.create("plain:1", module="bentoml.pytorch") as model:
        pass
    with pytest.raises(
        NotFound, match="^Model plain:1 was saved with module bentoml.pytorch, not loading with bentoml.sklearn"
    ):
        bentoml.sklearn.load_model("plain:1")
    with pytest.raises(NotFound, match="^Model plain:1 was saved with module bentoml.pytorch, not loading with"):
        bentoml.sklearn.get("plain:1")
    assert model.framework_module().__name__ == "ekiben.frameworks.pytorch"


def test_a_model_without_module_says_so() -> None:
    with bentoml.models.create("plain:1") as model:
        pass
    with pytest.raises(BentoMLException, match="Module is not defined in model.yaml of `plain:1`"):
        model.load_model()


# What pip has to install, where it is not the module's own name.
PACKAGES = {
    "detectron": "'git+https://github.com/facebookresearch/detectron2.git'",
    "diffusers": "--upgrade diffusers transformers accelerate",
    "fastai": "torch",
    "keras": "tensorflow",
    "pytorch": "torch",
    "pytorch_lightning": "pytorch-lightning",
    "torchscript": "torch",
}
INSTALLED = ("sklearn", "picklable_model")


def test_every_module_has_a_file_and_a_line_in_the_table() -> None:
    folder = Path(exports.load("sklearn").__file__).parent
    shared = {"__init__", "framework", "hub", "older", "onnx_inputs", "runnables", "torch_runnable"}
    assert sorted(path.stem for path in folder.glob("*.py") if path.stem not in shared) == sorted(FRAMEWORKS)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_importing_a_module_imports_no_framework(name: str) -> None:
    code = f"""
import sys
from importlib import import_module
import ekiben.frameworks.{name} as module
heavy = "xgboost lightgbm catboost torch tensorflow keras flax jax fastai diffusers easyocr detectron2 onnx mlflow \
transformers sklearn joblib numpy pandas cloudpickle pytorch_lightning onnxruntime".split()
print([found for found in heavy if found in sys.modules] or "nothing")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "nothing"


@pytest.mark.parametrize("name", [name for name in FRAMEWORKS if name not in INSTALLED])
def test_a_missing_library_gives_the_line_to_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = exports.load(name)
    arguments = {"flax": (object(), {}), "mlflow": ("somewhere",)}.get(name, (object(),))
    with pytest.raises(MissingDependencyException) as raised:
        module.save_model("m", *arguments)
    message = str(raised.value)
    assert f"is required in order to use module 'bentoml.{name}'" in message
    assert message.endswith(f"; install it with 'pip install {PACKAGES.get(name, name)}'")
    assert bentoml.models.list() == []


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_each_module_refuses_the_models_of_others(name: str) -> None:
    module = exports.load(name)
    other = "bentoml.sklearn" if name != "sklearn" else "bentoml.xgboost"
    for written in (f"bentoml.{name}", f"bentoml._internal.frameworks.{name}", other):
        with bentoml.models.create(f"m-{written.replace('.', '-').replace('_', '-')}:v1", module=written) as model:
            pass
        if written != other:
            assert module.get(model.tag).tag == model.tag
    refusals = ("failed to load", "failed loading") if name in ("flax", "fastai") else ("not loading", "not loading")
    for function, refusal in zip((module.get, module.load_model), refusals):
        with pytest.raises(NotFound) as raised:
            function(model.tag)
        assert str(raised.value) == (f"Model {model.tag} was saved with module {other}, {refusal} with bentoml.{name}.")


def test_all_that_is_kept_is_got_back(classifier: object) -> None:
    saved = bentoml.sklearn.save_model(
        "iris",
        classifier,
        labels={"owner": "nlp_team", "stage": "dev"},
        metadata={"acc": 0.9, "cv_stats": {"mean": [0.8, 0.9]}, "dataset_version": "20210820"},
        custom_objects={"tokenizer": str.split},
        signatures={"classify": {"batchable": False}, "predict": {"batchable": True, "batch_dim": 1}},
    )
    model = bentoml.sklearn.get("iris:latest")
    assert model == saved
    assert model.labels == {"owner": "nlp_team", "stage": "dev"}
    assert model.metadata == {"acc": 0.9, "cv_stats": {"mean": [0.8, 0.9]}, "dataset_version": "20210820"}
    assert model.custom_objects["tokenizer"]("a b") == ["a", "b"]
    assert {name: (signature.batchable, signature.batch_dim) for name, signature in model.signatures.items()} == {
        "classify": (False, (0, 0)),
        "predict": (True, (1, 1)),
    }
    assert model.options.to_dict() == {}
    assert model.with_options(partial_kwargs={"a": 1}).options.partial_kwargs == {"a": 1}


def test_external_modules_are_taken_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_the_user.py").write_text("class Model:\n    def __call__(self, x):\n        return x + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    module: Any = importlib.import_module("of_the_user")
    bentoml.picklable_model.save_model(
        "m", module.Model(), custom_objects={"class": module.Model}, external_modules=[module]
    )
    code = "import _ekiben_bentoml; _ekiben_bentoml.install(); import bentoml; model = bentoml.models.get('m'); "
    code += "print(model.load_model()(1), model.custom_objects['class']()(2))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert done.stdout.split() == ["2", "3"], done.stderr


def test_an_unknown_keyword_is_an_error_and_stores_nothing(classifier: object) -> None:
    with pytest.raises(TypeError, match="booster_params"):
        bentoml.sklearn.save_model("iris", classifier, booster_params={})
    assert bentoml.models.list() == []


def test_the_default_signature_is_told(classifier: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bentoml.sklearn.save_model("iris", classifier)
    assert "Using the default model signature for sklearn" in caplog.text


def test_a_framework_that_fails_stores_nothing(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    class Booster:
        def save_model(self, path: str) -> None:
            Path(path).write_text("half")
            raise OSError("disk full")

    fake = types.ModuleType("lightgbm")
    fake.Booster = Booster  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightgbm", fake)
    monkeypatch.setattr("ekiben.frameworks.framework.version", lambda _name: "1.0")
    with pytest.raises(OSError, match="disk full"):
        bentoml.lightgbm.save_model("m", Booster())
    assert bentoml.models.list() == []
    assert [path.name for path in (home / "tmp").iterdir()] == ["locks"]


def test_models_of_the_hub_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in of the hub's client; the real one needs a network."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--org--name" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (tmp_path / "blob").write_text("[1]")
    (snapshot / "model_index.json").symlink_to(tmp_path / "blob")
    calls = []

    def snapshot_download(repo_id: str, revision: str | None = None) -> str:
        calls.append((repo_id, revision))
        return str(snapshot)

    hub = types.ModuleType("huggingface_hub")
    hub.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    diffusers = types.ModuleType("diffusers")
    diffusers.__version__ = "0.30.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "diffusers", diffusers)
    imported = bentoml.diffusers.import_model("m", "org/name", revision="v2", sync_with_hub_version=True)
    assert str(imported.tag) == f"m:{commit}"
    file = Path(imported.path_of("diffusion_model/model_index.json"))
    assert (file.is_symlink(), file.read_text()) == (False, "[1]")
    assert bentoml.diffusers.import_model(f"m:{commit}", "org/name") == imported
    assert calls == [("org/name", "v2")]
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "model_index.json").write_text("[1]")
    with pytest.raises(
        BentoMLException, match="^Cannot sync version with huggingface hub when importing a local model"
    ):
        bentoml.diffusers.import_model("n", tmp_path / "local", sync_with_hub_version=True)
    with pytest.raises(BentoMLException, match="is not a Diffusion model"):
        bentoml.diffusers.import_model("n", tmp_path)
