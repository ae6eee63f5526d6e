"""What one side saves, the other loads: each framework that can be installed here, with real models of its own."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import pytest
import yaml

import ekiben
from interop.frameworks.cases import CASES, Case

KEPT = {
    "labels": {"owner": "team", "stage": "dev"},
    "metadata": {"acc": 0.9, "cv_stats": {"mean": 0.5}, "dataset_version": "20210820"},
    "custom_objects": {"tokenizer": [1, 2]},
}
# What differs from save to save.
CHANGING = ("name", "creation_time")


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def save(side: Any, case: Case, trained: tuple[Any, ...], tag: str) -> Any:
    kept = {**KEPT, "metadata": dict(KEPT["metadata"]), "custom_objects": dict(KEPT["custom_objects"])}
    keywords = {key: dict(value) for key, value in case.keywords.items()}
    return getattr(getattr(side, case.framework), case.save)(tag, *trained, **kept, **keywords)


def same(left: Any, right: Any) -> None:
    np.testing.assert_allclose(np.asarray(left, dtype=float), np.asarray(right, dtype=float), rtol=1e-6, atol=1e-9)


def files(path: str) -> set[str]:
    return {str(file.relative_to(path)) for file in Path(path).rglob("*")}


@pytest.mark.parametrize("name", CASES)
def test_models_are_exchanged(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    trained = case.train(tmp_path)
    expected = (case.expected or case.predict)(trained[0])
    our_tag, their_tag = (f"{side}-{name.replace(' ', '-')}:v1" for side in ("ours", "theirs"))
    ours = save(ekiben, case, trained, our_tag)
    save(bentoml, case, trained, their_tag)
    our_module, their_module = getattr(ekiben, case.framework), getattr(bentoml, case.framework)

    same(case.predict(their_module.load_model(our_tag)), expected)
    same(case.predict(our_module.load_model(their_tag)), expected)
    same(case.predict(our_module.load_model(ours)), expected)
    assert str(their_module.get(our_tag).tag) == our_tag
    assert str(our_module.get(their_tag).tag) == their_tag
    assert ekiben.models.get(their_tag).custom_objects["tokenizer"] == [1, 2]
    assert bentoml.models.get(our_tag).custom_objects["tokenizer"] == [1, 2]

    assert files(ours.path) == files(ekiben.models.get(their_tag).path)
    assert description(our_tag) == description(their_tag)


def description(tag: str) -> str:
    """Return what ``model.yaml`` says, in its order; upstream may use YAML's anchors for what occurs twice."""
    text = Path(ekiben.models.get(tag).path_of("model.yaml")).read_text()
    return json.dumps({key: value for key, value in yaml.safe_load(text).items() if key not in CHANGING})


def test_signatures_are_exchanged(tmp_path: Path) -> None:
    classifier = CASES["sklearn"].train(tmp_path)[0]
    signatures = {"predict": {"batchable": True, "batch_dim": 0}}
    ekiben.sklearn.save_model("signatures:v1", classifier, signatures=signatures)
    assert bentoml.models.get("signatures:v1").info.signatures["predict"].batch_dim == (0, 0)
