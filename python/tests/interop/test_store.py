"""Upstream and the SDK on one model store, in both directions."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import bentoml
import pytest
import yaml

from interop.upstream import peer_python


def upstream(home: Path, code: str) -> Any:
    """Run code in upstream's Python; it sets ``answer``, which comes back through JSON."""
    done = subprocess.run(
        [peer_python(), "-c", f"import bentoml, json, sys\n{code}\nprint('ANSWER' + json.dumps(answer))"],
        env={
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            "BENTOML_HOME": str(home),
            "BENTOML_DO_NOT_TRACK": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("ANSWER")[2])


@pytest.fixture
def classifier() -> Any:
    datasets = importlib.import_module("sklearn.datasets")
    linear_model = importlib.import_module("sklearn.linear_model")
    return linear_model.LogisticRegression(max_iter=500).fit(*datasets.load_iris(return_X_y=True))


SAMPLE = [[5.9, 3.0, 5.1, 1.8], [5.1, 3.5, 1.4, 0.2]]


def test_upstream_reads_what_we_save(home: Path, classifier: Any) -> None:
    saved = bentoml.sklearn.save_model(
        "iris", classifier, labels={"owner": "x"}, metadata={"acc": 0.9, "shape": (1, 2)}, custom_objects={"n": [1]}
    )
    with bentoml.models.create("iris:second") as second:
        Path(second.path_of("f")).write_text("x")
    answer = upstream(
        home,
        f"""
model = bentoml.models.get({str(saved.tag)!r})
answer = [
    sorted(str(item.tag) for item in bentoml.models.list()),
    str(bentoml.models.get("iris").tag),
    model.info.labels, model.info.metadata, model.info.module, model.custom_objects, model.file_size,
    model.creation_time.isoformat(), model.info.context.framework_versions,
    bentoml.sklearn.load_model(model).predict({SAMPLE!r}).tolist(),
]""",
    )
    assert answer == [
        sorted([str(saved.tag), "iris:second"]),
        "iris:second",
        {"owner": "x"},
        {"acc": 0.9, "shape": [1, 2]},
        "bentoml.sklearn",
        {"n": [1]},
        saved.file_size,
        saved.creation_time.isoformat(),
        saved.info.context.framework_versions,
        classifier.predict(SAMPLE).tolist(),
    ]


def test_we_read_what_upstream_saves(home: Path) -> None:
    predicted = upstream(
        home,
        f"""
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
classifier = LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True))
model = bentoml.sklearn.save_model("iris:v1", classifier, labels={{"owner": "x"}}, metadata={{"acc": 0.9}},
    custom_objects={{"n": [1]}}, signatures={{"predict": {{"batchable": True, "batch_dim": 0}}}})
with bentoml.models.create("plain:v1") as plain:
    open(plain.path_of("f"), "w").write("x")
answer = classifier.predict({SAMPLE!r}).tolist()""",
    )
    assert [str(model.tag) for model in bentoml.models.list()] == ["iris:v1", "plain:v1"]
    model = bentoml.models.get("iris")
    assert (model.info.labels, model.info.metadata, model.custom_objects) == ({"owner": "x"}, {"acc": 0.9}, {"n": [1]})
    assert model.info.signatures["predict"].batch_dim == (0, 0)
    assert model.load_model().predict(SAMPLE).tolist() == predicted
    assert Path(bentoml.models.get("plain:latest").path_of("f")).read_text() == "x"


def test_both_write_the_same_description(home: Path) -> None:
    options = """dict(
    labels={"b": "yes", "a": "h\\xe9llo", "n": "3", "e": ""},
    metadata={"list": [1, [2.5, "x"]], "text": "a: b", "long": "word " * 40, "none": {}, 3: 1e-7, "t": True,
        "multi": "line one\\nline two\\n", "inf": float("inf"), "raw": b"abc", "pair": (1, "2")},
    signatures={"predict": {"batchable": True, "batch_dim": 1}, "other": {"batchable": False}},
    custom_objects=None, module="", api_version="v1")"""
    upstream(home, f"with bentoml.models.create('theirs:v1', **{options}) as m: pass\nanswer = None")
    with bentoml.models.create("ours:v1", **eval(options)):
        pass

    def text(name: str) -> str:
        lines = Path(bentoml.models.get(name).path_of("model.yaml")).read_text().splitlines()
        changing = ("name: ", "creation_time: ", "  python_version: ")
        return "\n".join(line for line in lines if not line.startswith(changing))

    assert text("ours:v1") == text("theirs:v1")


def test_deleting_on_either_side(home: Path) -> None:
    for version in ("1", "2", "3"):
        with bentoml.models.create(f"m:{version}"):
            pass
    upstream(home, "bentoml.models.delete('m:3')\nanswer = None")
    assert str(bentoml.models.get("m").tag) == "m:2"
    bentoml.models.delete("m:2")
    assert upstream(home, "answer = str(bentoml.models.get('m').tag)") == "m:1"


def test_descriptions_parse_as_upstreams_types(home: Path) -> None:
    with bentoml.models.create("m:1", metadata={"k": 1}) as model:
        pass
    data = yaml.safe_load(Path(model.path_of("model.yaml")).read_text())
    theirs = upstream(home, "answer = list(bentoml.models.get('m:1').info.to_dict())")
    assert list(data) == theirs
    assert sys.version.startswith(data["context"]["python_version"])
