"""Models of real frameworks between upstream and the SDK, in an environment that has both and the frameworks."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from interop.upstream import REPOSITORY

PYTHON = REPOSITORY / "target/frameworks/bin/python"
SWITCH = "EKIBEN_TEST_WITHOUT_FRAMEWORKS"


@pytest.mark.skipif(bool(os.environ.get(SWITCH)), reason=f"{SWITCH} is set")
def test_every_framework_that_is_installed(tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.fail(f"the frameworks are not there: no {PYTHON}; run scripts/setup frameworks, or set {SWITCH}=1")
    python = REPOSITORY / "python"
    done = subprocess.run(
        [str(PYTHON), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/interop/frameworks"],
        cwd=python,
        env={
            **os.environ,
            "PYTHONPATH": f"{python / 'src'}:{python / 'tests'}",
            "HOME": str(tmp_path),
            "BENTOML_HOME": str(tmp_path / "home"),
            "HF_HUB_OFFLINE": "1",
            "BENTOML_DO_NOT_TRACK": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout, done.stdout
