"""Frameworks that cannot be installed here: upstream and the SDK make the same calls and files of stand-ins.

This proves the format and the calls, not that the real framework agrees; ``docs/sdk/frameworks.md`` says which are
proven how.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ekiben import exports
from ekiben.frameworks import FRAMEWORKS
from interop.upstream import peer_python

SCRIPT = Path(__file__).parent / "fake_models.py"
SOURCE = Path(__file__).parents[2] / "src"


def run(python: str, step: str, home: Path, scratch: Path) -> dict[str, Any]:
    done = subprocess.run(
        [python, str(SCRIPT), step, str(home), str(scratch / "metadata")],
        env={
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            **({"PYTHONPATH": str(SOURCE)} if python == sys.executable else {}),
            "BENTOML_HOME": str(home),
            "BENTOML_DO_NOT_TRACK": "1",
        },
        cwd=scratch,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.rpartition("ANSWER")[2])


def test_the_same_calls_and_the_same_files(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    saved = run(sys.executable, "save", ours, tmp_path)
    assert saved == run(peer_python(), "save", theirs, tmp_path)
    assert len(saved) == 13

    loaded = run(sys.executable, "load", theirs, tmp_path)
    assert loaded == run(peer_python(), "load", ours, tmp_path)
    assert loaded == run(sys.executable, "load", ours, tmp_path)
    assert set(loaded) == set(saved)


def upstream_source(framework: str) -> Path:
    site = next((Path(peer_python()).parent.parent / "lib").glob("python3.*/site-packages"))
    places = [site / f"_bentoml_impl/frameworks/{framework}.py", site / f"bentoml/_internal/frameworks/{framework}.py"]
    return next(place for place in places if place.exists())


def declared(source: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Return the functions of a file: names of positional and of keyword-only parameters."""
    functions = {}
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            positional = [parameter.arg for parameter in [*node.args.posonlyargs, *node.args.args]]
            functions[node.name] = (positional, sorted(parameter.arg for parameter in node.args.kwonlyargs))
    return functions


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_same_signatures(framework: str) -> None:
    theirs = declared(upstream_source(framework))
    module = exports.load(framework)
    for name in ("save_model", "import_model", "load_model", "get", "get_runnable"):
        if name not in theirs:
            continue
        parameters = inspect.signature(getattr(module, name)).parameters.values()
        positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        keywords = sorted(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        wanted_positional, wanted_keywords = theirs[name]
        # Two of upstream's parameters are for its own modules only.
        wanted_keywords = [keyword for keyword in wanted_keywords if keyword not in ("_framework_name", "_module_name")]
        if name == "get":
            assert len(positional) == len(wanted_positional) == 1
        else:
            assert (positional, keywords) == (wanted_positional, wanted_keywords), name
