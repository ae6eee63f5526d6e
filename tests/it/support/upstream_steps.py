"""Runs steps with upstream's package in one process, whose start is what takes the time of each.

Reads a JSON list of steps from the file that it is given, and prints a JSON list of what became of them.
`{"cli": [ARGUMENT, …]}` is one of upstream's own command lines, `{"python": TEXT}` a program, and
`{"move": [FROM, TO]}` puts a directory aside; `"env"` sets variables from that step on. A step's answer is
`{"status": …, "stdout": …, "stderr": …}`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import traceback
from pathlib import Path


def command_line(arguments: list[str]) -> int:
    """Run one command line as `bentoml` does, and give its exit status."""
    from bentoml_cli.cli import cli

    try:
        cli.main(arguments, prog_name="bentoml")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def set_variables(variables: dict[str, str]) -> None:
    """Set variables, and make the package forget the client that it made of the former ones."""
    from bentoml._internal.configuration.containers import BentoMLContainer
    from simple_di import sentinel

    os.environ.update(variables)
    for provider in (BentoMLContainer.bentocloud_client, BentoMLContainer.rest_api_client):
        provider._cache = sentinel


def run(step: dict) -> int:
    """Run one step and give its status; what a program raises is a 70."""
    if "env" in step:
        set_variables(step["env"])
    try:
        if "cli" in step:
            return command_line(step["cli"])
        if "move" in step:
            source, target = map(Path, step["move"])
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source, target)
        if "python" in step:
            exec(step["python"], {})
    except Exception:
        traceback.print_exc(file=sys.stdout)
        return 70
    return 0


def main() -> None:
    """Answer every step, also those after one that failed."""
    answers = []
    for step in json.loads(Path(sys.argv[1]).read_text()):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run(step)
        answers.append({"status": status, "stdout": out.getvalue(), "stderr": err.getvalue()})
    json.dump(answers, sys.stdout)


main()
