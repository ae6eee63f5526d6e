"""What users do with models of large frameworks, as their documents show it."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import ekiben as bentoml
from interop.frameworks.cases import SENTENCE, ask_torch, minilm, torch_module, transformers_pipeline


def test_a_pytorch_model_with_all_that_is_kept(tmp_path: Path) -> None:
    model = torch_module(tmp_path)[0]
    tokenizer = importlib.import_module("transformers").AutoTokenizer.from_pretrained(minilm())
    saved = bentoml.pytorch.save_model(
        "demo_mnist",
        model,
        labels={"owner": "nlp_team", "stage": "dev"},
        metadata={"acc": 0.9, "cv_stats": {"mean": 0.85}, "dataset_version": "20210820"},
        custom_objects={"tokenizer": tokenizer},
        signatures={"classify": {"batchable": False}},
    )
    found = bentoml.models.get("demo_mnist:latest")
    assert found.tag == saved.tag
    assert found.labels == {"owner": "nlp_team", "stage": "dev"}
    assert found.metadata == {"acc": 0.9, "cv_stats": {"mean": 0.85}, "dataset_version": "20210820"}
    assert list(found.signatures) == ["classify"]
    assert found.custom_objects["tokenizer"](SENTENCE)["input_ids"] == tokenizer(SENTENCE)["input_ids"]
    np.testing.assert_allclose(ask_torch(bentoml.pytorch.load_model("demo_mnist:latest")), ask_torch(model))
    with pytest.raises(bentoml.exceptions.NotFound, match="not loading with bentoml.torchscript"):
        bentoml.torchscript.get("demo_mnist")


def test_a_pipeline_saved_as_files(tmp_path: Path) -> None:
    transformers = importlib.import_module("transformers")
    pipeline = transformers_pipeline(tmp_path)[0]
    with bentoml.models.create(name="summarization-model") as m:
        pipeline.save_pretrained(m.path)
    with bentoml.models.create(name="copied-model") as m:
        shutil.copytree(minilm(), m.path, dirs_exist_ok=True)
    for name in ("summarization-model", "copied-model"):
        path = bentoml.models.get(f"{name}:latest").path
        loaded = transformers.pipeline("feature-extraction", model=path, tokenizer=path, framework="pt")
        np.testing.assert_allclose(loaded(SENTENCE), pipeline(SENTENCE), rtol=1e-5)


def test_a_failure_inside_stores_nothing() -> None:
    with pytest.raises(RuntimeError), bentoml.models.create(name="never-stored") as m:
        Path(m.path_of("half")).write_text("x")
        raise RuntimeError
    with pytest.raises(bentoml.exceptions.NotFound):
        bentoml.models.get("never-stored")
