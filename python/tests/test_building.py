"""`bentoml.build`, `load` and `runner_service`; what the executable does with a bentofile has tests of its own."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any, Callable

import bentoml
import pytest
import yaml
from bentoml.exceptions import CLIException
from front import Front

from ekiben.services.arguments import set_arguments
from ekiben.stores import home as homes

BENTO = {"service": "svc_of_bento:Svc", "name": "built", "version": "v1", "bentoml_version": "1.4.39", "args": {"n": 3}}


def write_bento(folder: Path) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "svc_of_bento.py").write_text(
        "import bentoml\n@bentoml.service\nclass Svc:\n    n = bentoml.use_arguments().n\n"
    )
    creation = {"creation_time": "2026-01-01T00:00:00+00:00", "labels": {}, "models": []}
    (folder / "bento.yaml").write_text(yaml.safe_dump({**BENTO, **creation}))
    return folder


@pytest.fixture
def told(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Put an executable first in PATH that writes down what it is told, and has built a bento."""
    write_bento(home / "bentos" / "built" / "v1")
    (home / "bentos" / "built" / "latest").write_text("v1")
    record = tmp_path / "told.json"
    program = tmp_path / "bin" / "ekiben"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        "words = sys.argv[1:]\n"
        "read = [open(words[words.index(o) + 1]).read() for o in ('-f', '--arg-file') if o in words]\n"
        f"json.dump([words, read], open({str(record)!r}, 'w'))\n"
        "if 'broken' in words: sys.exit('error: no such thing')\n"
        "print('__tag__:built:v1')\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    return lambda: json.loads(record.read_text())


def test_options_are_a_bentofile(told: Callable[[], Any], tmp_path: Path) -> None:
    bento = bentoml.build(
        "svc:Svc",
        labels={"a": "b"},
        python={"packages": ["numpy"]},
        version="v1",
        build_ctx=str(tmp_path),
        args={"n": 3},
    )
    assert str(bento.tag) == "built:v1"
    words, [written] = told()
    assert words[:2] == ["build", str(tmp_path)]
    assert words[4:] == ["--version=v1", "--output", "tag"]
    expected = {"service": "svc:Svc", "labels": {"a": "b"}, "python": {"packages": ["numpy"]}, "args": {"n": 3}}
    assert yaml.safe_load(written) == expected
    assert not Path(words[3]).exists()
    with pytest.raises(CLIException, match="cannot build a bento: `ekiben` failed: no such thing"):
        bentoml.build("svc", build_ctx="broken")


def test_bentofiles_and_images_are_left_to_the_executable(told: Callable[[], Any], tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("service: x\n")
    bentoml.bentos.build_bentofile(str(tmp_path / "my.yaml"), labels={"a": "b"}, name="n", args={"n": 1})
    words, [bentofile, arguments] = told()
    assert (bentofile, arguments) == ("service: x\n", "n: 1\n")
    assert [word for word in words if word.startswith("--")] == ["--arg-file", "--name", "--label=a=b", "--output"]
    assert bentoml.bentos.containerize("built:v1", image_tag="i:1", backend="native", verify=True, platform=None)
    assert told()[0] == ["containerize", "built:v1", "--image-tag=i:1", "--backend=native", "--verify"]


@pytest.fixture
def _clean(monkeypatch: pytest.MonkeyPatch) -> Any:
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    homes.serve_bento(None, {})
    set_arguments({})
    for name in set(sys.modules) - before:
        if name.startswith("svc_"):
            del sys.modules[name]


@pytest.mark.usefixtures("_clean")
def test_services_are_loaded_from_wherever_they_are(home: Path, tmp_path: Path) -> None:
    write_bento(home / "bentos" / "built" / "v1")
    (home / "bentos" / "built" / "latest").write_text("v1")
    for target in ("built:v1", "built", bentoml.Tag("built", "v1"), str(home / "bentos" / "built" / "v1")):
        service = bentoml.load(target)
        assert (service.name, service.inner.n, service.bento.version) == ("Svc", 3, "v1")
    project = tmp_path / "project"
    project.mkdir()
    (project / "svc_here.py").write_text("import bentoml\n@bentoml.service\nclass Here:\n    pass\n")
    (project / "bentofile.yaml").write_text("service: svc_here:Here\n")
    assert bentoml.load(str(project)).name == "Here"
    assert bentoml.load("svc_here:Here", working_dir=str(project)).name == "Here"
    assert bentoml.load("svc_here.py", working_dir=str(project)).name == "Here"
    with pytest.raises(ModuleNotFoundError):
        bentoml.load("svc_nowhere:Here")


def test_a_runner_is_a_service_of_its_methods(serve: Callable[..., Front]) -> None:
    front = serve(
        """
        class Model(bentoml.Runnable):
            SUPPORTED_RESOURCES = ("cpu",)
            SUPPORTS_CPU_MULTI_THREADING = True
            def __init__(self, factor): self.factor = factor
            @bentoml.Runnable.method(batchable=True, batch_dim=0)
            def scale(self, values: list) -> list: return [self.factor * value for value in values]
            @bentoml.Runnable.method(batchable=False)
            def kind(self) -> str: return type(self).__name__

        runner = bentoml.Runner(Model, name="model", runnable_init_params={"factor": 3}, max_batch_size=7)
        Svc = bentoml.runner_service(runner, workers=2)
        """
    )
    described = front.ready()
    assert (described["name"], described["config"]) == ("model", {"workers": 2})
    limits = {one["name"]: (one["batchable"], one["max_batch_size"]) for one in described["endpoints"]}
    assert limits == {"scale": (True, 7), "kind": (False, 7)}
    assert json.loads(front.ask("scale", {"values": [1, 2]})[2]) == [3, 6]
    assert front.ask("kind", {})[2] == b"ModelService"
    with pytest.raises(ValueError, match="Expect an instance of Runner"):
        bentoml.runner_service("model")  # type: ignore[arg-type]
