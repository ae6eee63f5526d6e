"""The vectors of ``testdata/store``, which the executable's tests read too."""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import bentoml
import pytest
from bentoml.exceptions import BentoMLException

from ekiben.models.info import ModelContext, ModelInfo, ModelOptions, ModelSignature
from ekiben.tag import Tag

VECTORS = Path(__file__).parents[2] / "testdata/store"


def vectors(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


TAGS = vectors("tags.json")
MODELS = vectors("models.json")


@pytest.mark.parametrize("vector", TAGS["valid"], ids=lambda vector: vector["text"])
def test_valid_tags(vector: dict[str, Any]) -> None:
    tag = Tag.from_str(vector["text"])
    assert (tag.name, tag.version, tag.path()) == (vector["name"], vector["version"], vector["directory"])


@pytest.mark.parametrize("text", TAGS["invalid"], ids=repr)
def test_invalid_tags(text: str) -> None:
    with pytest.raises((ValueError, BentoMLException)) as raised:
        Tag.from_str(text)
    if text in TAGS["reasons"]:
        assert str(raised.value) == TAGS["reasons"][text]


def test_order_and_generated_versions() -> None:
    tags = [Tag.from_str(text) for text in reversed(TAGS["ordered"])]
    assert [str(tag) for tag in sorted(tags)] == TAGS["ordered"]
    versions = {Tag("m").make_new_version().version for _ in range(1000)}
    assert all(re.fullmatch(TAGS["generated"], version) for version in versions)
    assert len(versions) == 1000


def info(vector: dict[str, Any]) -> ModelInfo:
    return ModelInfo(
        tag=Tag(vector["name"], vector["version"]),
        module=vector["module"],
        labels=vector["labels"],
        options=ModelOptions(**vector["options"]),
        metadata=vector["metadata"],
        context=ModelContext(**vector["context"]),
        signatures={name: ModelSignature.of(signature) for name, signature in vector["signatures"].items()},
        api_version=vector["api_version"],
        creation_time=datetime.fromisoformat(vector["creation_time"]),
    )


@pytest.mark.parametrize("vector", MODELS, ids=lambda vector: vector["file"])
def test_model_yaml(vector: dict[str, Any], tmp_path: Path) -> None:
    expected = (VECTORS / "models" / f"{vector['file']}.yaml").read_text()
    assert info(vector).to_yaml() == expected
    (tmp_path / "model.yaml").write_text(expected)
    assert ModelInfo.read(tmp_path) == info(vector)


def put(home: Path, version: str, time: str | None) -> Path:
    folder = home / "models" / "m" / version
    folder.mkdir(parents=True)
    if time is not None:
        vector = {**MODELS[0], "name": "m", "version": version, "creation_time": time}
        (folder / "model.yaml").write_text(info(vector).to_yaml())
    return folder


@pytest.mark.parametrize("vector", vectors("latest.json"), ids=lambda vector: vector["case"])
def test_latest(vector: dict[str, Any], home: Path) -> None:
    (home / "models" / "m").mkdir(parents=True)
    for version, time in vector["versions"].items():
        put(home, version, time)
    if vector["pointer"] is not None:
        (home / "models" / "m" / "latest").write_text(vector["pointer"])
    if vector["latest"] is None:
        with pytest.raises(BentoMLException):
            bentoml.models.get("m:latest")
    else:
        assert bentoml.models.get("m:latest").tag.version == vector["latest"]
        assert bentoml.models.get("m").tag.version == vector["latest"]


@pytest.mark.parametrize(("case", "content"), vectors("broken.json").items())
def test_a_listing_goes_on_without_what_is_broken(
    case: str, content: str | None, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(home, "good", "2026-01-01T00:00:00+00:00")
    folder = put(home, "broken", None)
    if content is not None:
        (folder / "model.yaml").write_text(content)
    for tag in (None, "m"):
        caplog.clear()
        assert [str(model.tag) for model in bentoml.models.list(tag)] == ["m:good"]
        (report,) = caplog.records
        assert report.levelno == logging.WARNING
        assert str(folder) in report.message
