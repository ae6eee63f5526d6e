"""Models of real frameworks between upstream and the SDK, in an environment that has both and the frameworks."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from ekiben.frameworks import FRAMEWORKS
from interop.frameworks.cases import CASES
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


def test_the_documentation_says_how_each_is_proven() -> None:
    page = (REPOSITORY / "docs/sdk/frameworks.md").read_text()
    said = dict(re.findall(r"^\| `(\w+)` \|.*\| (round trip|format) \|$", page, re.MULTILINE))
    exchanged = {case.framework for case in CASES.values()}
    assert said == {name: "round trip" if name in exchanged else "format" for name in FRAMEWORKS}
