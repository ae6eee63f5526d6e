"""Local runners of upstream and of the SDK: the same program, the same answers and errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from interop.upstream import peer_python

SCRIPT = Path(__file__).parent / "runner_cases.py"
SOURCE = Path(__file__).parents[2] / "src"

# Where the SDK differs on purpose, with its own answer; `docs/sdk/runners.md` says why.
CHOSEN: dict[str, Any] = {
    "coroutine": {"value": "WORD"},
    "coroutine, async": {"value": "WORD"},
    "no arguments": {"error": "TypeError", "text": "lengths() missing 1 required positional argument: 'words'"},
    "no dimension": {
        "error": "InvalidArgument",
        "text": "an array of 0 dimensions cannot be merged along dimension 0",
    },
    "a method named run": {"value": "ab"},
    "a method named as an attribute": {
        "error": "ValueError",
        "text": "method `destroy` of runnable class `Renamed` has the name of an attribute of every runner: rename it",
    },
}


def run(python: str, home: Path) -> dict[str, Any]:
    done = subprocess.run(
        [python, str(SCRIPT), str(home)],
        env={
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            **({"PYTHONPATH": str(SOURCE)} if python == sys.executable else {}),
            "BENTOML_DO_NOT_TRACK": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.rpartition("ANSWER")[2])


def test_the_same_answers_and_errors(tmp_path: Path) -> None:
    ours, theirs = run(sys.executable, tmp_path / "ours"), run(peer_python(), tmp_path / "theirs")
    assert set(ours) == set(theirs)
    assert len(ours) > 40
    differing = {name: answer for name, answer in ours.items() if answer != theirs[name]}
    assert differing == CHOSEN
