"""Fixtures: a store of its own per test, and services written as text and run by a real worker."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from front import Front

import _ekiben_bentoml

_ekiben_bentoml.install()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test its own home."""
    path = tmp_path / "home"
    monkeypatch.setenv("BENTOML_HOME", str(path))
    return path


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Front]]:
    """Return a function that runs a service given as text."""
    with contextlib.ExitStack() as stack:

        def start(
            source: str,
            target: str = "service:Svc",
            worker_id: int = 1,
            env: dict[str, str] | None = None,
            arguments: tuple[str, ...] = (),
        ) -> Front:
            project = tmp_path / "project"
            project.mkdir(exist_ok=True)
            (project / "service.py").write_text("import bentoml\n" + textwrap.dedent(source))
            named = () if "--bento" in arguments else ("--target", target)
            return stack.enter_context(
                Front(*named, "--working-dir", str(project), *arguments, cwd=tmp_path, env=env, worker_id=worker_id)
            )

        yield start
