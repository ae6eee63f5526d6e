"""Runners of real models: what upstream's answer, the SDK's answer, and their methods are called in the same way."""

from __future__ import annotations

import asyncio
import gc
import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import bentoml
import numpy as np
import pandas as pd
import pytest

import ekiben
from ekiben.exceptions import InvalidArgument
from ekiben.runners.batches import concatenate, merge_key, split
from interop.frameworks.cases import CASES, FEATURES, SENTENCE, Case, ask_model, loaded_minilm


def generator(seed: int) -> Any:
    return importlib.import_module("torch").manual_seed(seed)


def tokens() -> Any:
    return importlib.import_module("torch").tensor([[101, 1037, 2944, 102]])


# Case -> the method, and what it is called with: arguments, keywords.
Question = tuple[str, Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]]
OF_FRAMEWORK: dict[str, Question] = {
    "sklearn": ("predict", lambda: ((FEATURES,), {})),
    "xgboost": ("predict", lambda: ((FEATURES,), {})),
    "lightgbm": ("predict", lambda: ((FEATURES,), {})),
    "catboost": ("predict", lambda: ((FEATURES,), {})),
    "onnx": ("run", lambda: ((FEATURES,), {})),
    "picklable_model": ("__call__", lambda: ((FEATURES,), {})),
    "mlflow": ("predict", lambda: ((FEATURES,), {})),
    "pytorch": ("__call__", lambda: ((FEATURES,), {})),
    "torchscript": ("__call__", lambda: ((FEATURES,), {})),
    "pytorch_lightning": ("__call__", lambda: ((FEATURES,), {})),
    "fastai": ("predict", lambda: ((1,), {})),
    "diffusers": (
        "__call__",
        lambda: ((), {"generator": generator(1), "num_inference_steps": 2, "output_type": "np"}),
    ),
}
OF_CASE: dict[str, Question] = {
    "transformers tokenizer": ("encode", lambda: ((SENTENCE,), {})),
    "transformers pipeline": ("__call__", lambda: ((SENTENCE,), {})),
}
# Upstream asks PyTorch for a GPU when it makes a runner of a Transformers model, and fails where there is none.
ONLY_OURS = ("transformers model", "transformers imported")
METHOD = "__call__"
ASKED = [name for name in CASES if name not in ONLY_OURS]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    # Upstream's runnable of fastai turns gradients off for the whole thread, until it is gone.
    gc.collect()
    assert not importlib.import_module("torch").is_inference_mode_enabled()


def saved(case: Case, folder: Path, tag: str, **keywords: Any) -> Any:
    return getattr(getattr(ekiben, case.framework), case.save)(tag, *case.train(folder), **case.keywords, **keywords)


def runner_of(side: Any, framework: str, tag: str, **options: Any) -> Any:
    runner = getattr(side, framework).get(tag).with_options(**options).to_runner()
    runner.init_local(quiet=True)
    return runner


def ask(runner: Any, question: Question) -> Any:
    method, arguments = question
    args, kwargs = arguments()
    return getattr(runner, method).run(*args, **kwargs)


def same(left: Any, right: Any) -> None:
    assert type(left) is type(right)
    if isinstance(left, tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right):
            same(one, other)
    else:
        assert getattr(left, "dtype", None) == getattr(right, "dtype", None)
        np.testing.assert_allclose(np.asarray(left), np.asarray(right), rtol=1e-5, atol=1e-6)


def table(runner: Any) -> Any:
    runnable = runner.runnable_class
    methods = {
        method.name: (method.config.batchable, tuple(method.config.batch_dim), method.config.is_stream)
        for method in runner.runner_methods
    }
    return runnable.SUPPORTED_RESOURCES, runnable.SUPPORTS_CPU_MULTI_THREADING, methods


@pytest.mark.parametrize("name", ASKED)
def test_the_same_answers(name: str, tmp_path: Path) -> None:
    case, tag = CASES[name], f"runner-{name.replace(' ', '-')}:v1"
    question = OF_CASE.get(name) or OF_FRAMEWORK[case.framework]
    saved(case, tmp_path, tag)
    ours, theirs = runner_of(ekiben, case.framework, tag), runner_of(bentoml, case.framework, tag)
    expected = ask(theirs, question)
    same(ask(ours, question), expected)
    assert table(ours) == table(theirs)
    args, kwargs = question[1]()
    same(asyncio.run(getattr(ours, question[0]).async_run(*args, **kwargs)), expected)
    older = getattr(ekiben, case.framework).load_runner(tag, question[0])
    older.init_local(quiet=True)
    same(ask(older, question), expected)


@pytest.mark.parametrize("name", ONLY_OURS)
def test_models_of_transformers_run_without_a_gpu(name: str, tmp_path: Path) -> None:
    case, tag = CASES[name], f"runner-{name.replace(' ', '-')}:v1"
    saved(case, tmp_path, tag)
    ours = runner_of(ekiben, "transformers", tag)
    expected = ask_model(loaded_minilm())
    torch = importlib.import_module("torch")
    with torch.no_grad():
        answer = getattr(ours, METHOD).run(tokens())
    np.testing.assert_allclose(answer.pooler_output.numpy(), expected, rtol=1e-5, atol=1e-6)


INPUTS = {
    "array": lambda: FEATURES,
    "frame": lambda: pd.DataFrame(FEATURES),
    "list": lambda: FEATURES.tolist(),
    "tensor": lambda: importlib.import_module("torch").tensor(FEATURES, dtype=importlib.import_module("torch").float32),
}


@pytest.mark.parametrize("framework", ["onnx", "pytorch", "xgboost booster", "catboost regressor"])
@pytest.mark.parametrize("kind", INPUTS)
def test_the_same_conversions(framework: str, kind: str, tmp_path: Path) -> None:
    case, tag = CASES[framework], f"input-{framework.replace(' ', '-')}-{kind}:v1"
    saved(case, tmp_path, tag)
    method = OF_FRAMEWORK[case.framework][0]
    question = (method, lambda: ((INPUTS[kind](),), {}))
    answers: list[Any] = []
    for side in (ekiben, bentoml):
        try:
            answers.append(ask(runner_of(side, case.framework, tag), question))
        except Exception as error:
            answers.append((type(error).__name__,))
    if isinstance(answers[1], tuple):
        assert answers[0] == answers[1]
    else:
        same(*answers)


def test_methods_that_are_not_there(tmp_path: Path) -> None:
    for name in ("xgboost booster", "lightgbm booster", "catboost regressor"):
        tag = f"missing-{name.replace(' ', '-')}:v1"
        saved(CASES[name], tmp_path, tag, signatures={"nothing": {}})
        texts = []
        for side in (ekiben, bentoml):
            runner = getattr(side, CASES[name].framework).get(tag).to_runner()
            with pytest.raises(side.exceptions.InvalidArgument, match="^No method with name nothing found") as caught:
                runner.init_local(quiet=True)
            texts.append(str(caught.value))
        assert texts[0] == texts[1]
    # Upstream's is not asked: its failed instance leaves gradients off.
    saved(CASES["fastai"], tmp_path, "missing-fastai:v1", signatures={"nothing": {}})
    with pytest.raises(InvalidArgument, match="found for Learner of type <class 'fastai.learner.Learner'>$"):
        ekiben.fastai.get("missing-fastai:v1").to_runner().init_local(quiet=True)


def test_partial_keywords(tmp_path: Path) -> None:
    saved(CASES["diffusers"], tmp_path, "partial:v1")
    added = {"num_inference_steps": 2, "output_type": "np"}
    runner = runner_of(ekiben, "diffusers", "partial:v1", partial_kwargs={"__call__": added})
    given = ask(runner_of(ekiben, "diffusers", "partial:v1"), OF_FRAMEWORK["diffusers"])
    same(runner.run(generator=generator(1)), given)
    assert runner._replace_scheduler.run("diffusers.DDIMScheduler") == {"success": True}
    assert runner._replace_scheduler.run("diffusers.Nothing")["success"] is False


def test_tensors_are_merged_and_split() -> None:
    torch = importlib.import_module("torch")
    for seed in range(20):
        torch.manual_seed(seed)
        shape = torch.randint(1, 4, (3,)).tolist()
        dim = seed % 3 - (3 if seed % 2 else 0)
        values = []
        for _ in range(3):
            shape[dim] = int(torch.randint(0, 4, (1,)))
            values.append(torch.rand(shape))
        batch, sizes = concatenate(values, dim)
        assert sizes == [value.shape[dim] for value in values]
        for part, value in zip(split(batch, sizes, dim), values):
            assert torch.equal(part, value)
    assert merge_key(torch.ones(2)) != merge_key(torch.ones(2, dtype=torch.float64))
