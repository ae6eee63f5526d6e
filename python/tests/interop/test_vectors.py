"""Upstream writes the vectors of ``testdata/store`` as they stand there, and reads archives as the SDK does."""

from __future__ import annotations

import json
from pathlib import Path

import bentoml
import pytest
import yaml

from interop.test_store import upstream
from interop.upstream import REPOSITORY

VECTORS = REPOSITORY / "testdata/store"


def test_upstream_writes_the_same_descriptions(home: Path) -> None:
    written = upstream(
        home,
        f"""
import io
from datetime import datetime
from bentoml._internal.models.model import ModelInfo, ModelOptions

answer = {{}}
for vector in json.load(open({str(VECTORS / "models.json")!r})):
    class Options(ModelOptions):
        def to_dict(self, options=vector["options"]):
            return options
    signatures = vector["signatures"]
    for signature in signatures.values():
        if "batch_dim" in signature:
            signature["batch_dim"] = tuple(signature["batch_dim"])
    info = ModelInfo(
        tag=bentoml.Tag(vector["name"], vector["version"]), module=vector["module"], labels=vector["labels"],
        options=Options(), metadata=vector["metadata"], context=bentoml.models.ModelContext(**vector["context"]),
        signatures=signatures, api_version=vector["api_version"],
        creation_time=datetime.fromisoformat(vector["creation_time"]),
    )
    stream = io.StringIO()
    info.dump(stream)
    answer[vector["file"]] = stream.getvalue()""",
    )
    for name, text in written.items():
        assert text == (VECTORS / "models" / f"{name}.yaml").read_text(), name
    assert len(written) == 4


def test_upstream_agrees_about_tags(home: Path) -> None:
    tags = json.loads((VECTORS / "tags.json").read_text())
    answer = upstream(
        home,
        f"""
tags = json.load(open({str(VECTORS / "tags.json")!r}))
def refuses(text):
    try:
        bentoml.Tag.from_str(text)
    except Exception:
        return True
    return False
valid = [bentoml.Tag.from_str(vector["text"]) for vector in tags["valid"]]
answer = {{
    "valid": [[tag.name, tag.version] for tag in valid],
    "accepted": [text for text in tags["invalid"] if not refuses(text)],
    "ordered": [str(tag) for tag in sorted(map(bentoml.Tag.from_str, reversed(tags["ordered"])))],
}}""",
    )
    assert answer["valid"] == [[vector["name"], vector["version"]] for vector in tags["valid"]]
    assert answer["ordered"] == tags["ordered"]
    # Its pattern lets one line feed pass at the end of a tag.
    assert answer["accepted"] == ["a\n"]


@pytest.mark.parametrize("name", ["bentomodel", "tar", "gz", "xz", "bz2", "zip", "folder"])
def test_archives_of_models_are_exchanged(name: str, home: Path, tmp_path: Path) -> None:
    with bentoml.models.create("ours:v1", labels={"a": "b"}, metadata={"k": [1]}, custom_objects={"n": 1}) as model:
        (Path(model.path) / "sub").mkdir()
        Path(model.path_of("sub/f")).write_bytes(b"x" * 1000)
        Path(model.path_of("g")).write_bytes(b"")
    suffix = "" if name == "folder" else f".{name}"
    mine = bentoml.models.export_model("ours", str(tmp_path / f"mine{suffix}"), name)
    theirs = tmp_path / f"theirs{suffix}"
    other = tmp_path / "other"
    exported = upstream(
        other,
        f"""
taken = bentoml.models.import_model("file://" + {mine!r}, {name!r})
with bentoml.models.create("theirs:v1", labels={{"c": "d"}}, custom_objects={{"n": 2}}) as model:
    open(model.path_of("f"), "w").write("y" * 1000)
exported = bentoml.models.export_model("theirs", "file://" + {str(theirs)!r}, {name!r})
answer = [str(taken.tag), taken.info.labels, taken.info.metadata, taken.custom_objects, taken.file_size,
    open(taken.path_of("sub/f")).read(), exported]""",
    )
    assert exported[:-1] == ["ours:v1", {"a": "b"}, {"k": [1]}, {"n": 1}, model.file_size, "x" * 1000]
    taken = bentoml.models.import_model(str(theirs))
    assert (str(taken.tag), taken.labels, taken.custom_objects) == ("theirs:v1", {"c": "d"}, {"n": 2})
    assert Path(taken.path_of("f")).read_text() == "y" * 1000


def test_bentos_are_listed_got_exported_imported_and_deleted_on_both_sides(home: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "service.py").write_text(
        "import bentoml\n\n@bentoml.service\nclass Svc:\n    model = bentoml.models.BentoModel('m:v1')\n\n"
        "    @bentoml.api\n    def f(self, x: int) -> int:\n        return x\n"
    )
    with bentoml.models.create("m:v1") as model:
        Path(model.path_of("f")).write_text("weights")
    archive = tmp_path / "theirs.bento"
    upstream(
        home,
        f"""
import sys
sys.path.insert(0, {str(project)!r})
bentoml.build("service:Svc", build_ctx={str(project)!r}, version="v1", labels={{"k": "v"}},
    python={{"lock_packages": False}})
bentoml.export_bento("svc:v1", "file://" + {str(archive)!r})
answer = None""",
    )
    (listed,) = bentoml.list()
    assert (str(listed.tag), listed.labels, listed.info.service) == ("svc:v1", {"k": "v"}, "service:Svc")
    assert [str(needed.tag) for needed in listed.info.all_models] == ["m:v1"]
    assert bentoml.get("svc") == listed
    mine = bentoml.export_bento("svc:latest", str(tmp_path))
    bentoml.delete("svc:v1")
    bentoml.models.delete("m:v1")
    assert bentoml.list() == []

    imported = bentoml.import_bento(str(archive))
    assert (str(imported.tag), Path(bentoml.models.get("m").path_of("f")).read_text()) == ("svc:v1", "weights")
    answer = upstream(
        tmp_path / "other",
        f"""
taken = bentoml.import_bento("file://" + {mine!r})
answer = [str(taken.tag), str(bentoml.models.get("m").tag), [str(bento.tag) for bento in bentoml.list()],
    taken.info.labels, sorted(taken.info.to_dict())]
bentoml.delete("svc:v1")
answer.append(len(bentoml.list()))""",
    )
    keys = sorted(yaml.safe_load(Path(imported.path_of("bento.yaml")).read_text()))
    assert answer == ["svc:v1", "m:v1", ["svc:v1"], {"k": "v"}, keys, 0]
