"""A real worker that serves a bento (docs/formats/worker-protocol.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import bentoml
import pytest
import yaml
from front import Front

Serve = Callable[..., Front]


def write_bento(folder: Path, home: Path, model_in_bento: bool) -> None:
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "service.py").write_text(
        """
import bentoml
@bentoml.service
class Svc:
    newest = bentoml.models.BentoModel("m:latest")
    @bentoml.api
    def which(self) -> list:
        context = bentoml.server_context
        got = [str(bentoml.models.get(name).tag) for name in ("m:2", "other")]
        return [str(self.newest.tag), got, self.newest.path, context.bento_name, context.bento_version]
"""
    )
    data = {
        "service": "service:Svc",
        "name": "svc",
        "version": "v1",
        "models": [{"tag": "m:2", "alias": "other", "module": "", "creation_time": "2026-01-01T00:00:00+00:00"}],
        "services": [{"name": "Svc", "models": [{"tag": "m:2", "module": ""}], "dependencies": []}],
        "spec": 2,
    }
    (folder / "bento.yaml").write_text(yaml.safe_dump(data))
    (folder / "models").mkdir()
    if model_in_bento:
        import shutil

        shutil.copytree(home / "models", folder / "models", dirs_exist_ok=True)
        for stale in ("1", "3"):
            shutil.rmtree(folder / "models" / "m" / stale)


@pytest.mark.parametrize("model_in_bento", [True, False])
def test_a_bento_uses_the_models_it_was_built_with(
    serve: Serve, tmp_path: Path, home: Path, model_in_bento: bool
) -> None:
    for version in ("1", "2", "3"):
        with bentoml.models.create(f"m:{version}"):
            pass
    bento = tmp_path / "bento"
    write_bento(bento, home, model_in_bento)
    front = serve("", arguments=("--bento", str(bento)))
    described = front.ready()
    assert described["models"] == ["m:2"]
    assert described["openapi"]["info"]["version"] == "v1"
    assert described["import_string"] == "service:Svc"
    store = (bento if model_in_bento else home) / "models"
    answer = json.loads(front.ask("which")[2])
    assert answer == ["m:2", ["m:2", "m:2"], str(store / "m" / "2"), "svc", "v1"]
