"""The `ekiben` executable, which does what the SDK leaves to it: the network, and formats beyond Python's library."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..exceptions import CLIException, MissingDependencyException
from ..tag import Tag
from .kind import Kind

if TYPE_CHECKING:
    from .item import Item

NAME = "ekiben"

# The user and password of a URL, which no message may show.
CREDENTIALS = re.compile(r"(?<=://)[^/@\s`'\"]*@")


def export(item: Item, target: str, *, purpose: str, form: str | None = None) -> str:
    """Export an item of the store, in a form if not in that of the name, and return where it went."""
    chosen = ["--format", form] if form else []
    printed = run([*item.kind.command, "export", str(item.tag), target, *chosen, "-o", "json"], purpose=purpose)
    return str(_told(printed, "path", purpose))


def import_from(kind: Kind, source: str, *, purpose: str) -> Tag:
    """Import an item into the store, and return its tag."""
    printed = run([*kind.command, "import", source, "-o", "json"], purpose=purpose)
    return Tag.from_str(str(_told(printed, "tag", purpose)))


def push(item: Item, destination: str | None, *, force: bool) -> None:
    """Upload an item of the store to a registry, or without a destination to the cloud."""
    where = [] if destination is None else [destination]
    run([*item.kind.command, "push", str(item.tag), *where, *_flags(force)], purpose=f"push `{item.tag}`")


def pull(kind: Kind, source: Tag | str, *, force: bool) -> Tag:
    """Download an item into the store, by tag from the cloud or by URL from a registry, and return its tag."""
    if isinstance(source, str) and "://" in source:
        printed = run([*kind.command, "pull", source, *_flags(force), "-o", "json"], purpose=f"pull `{source}`")
        return Tag.from_str(str(_told(printed, "tag", f"pull `{source}`")))
    tag = Tag.from_taglike(source)
    run([*kind.command, "pull", str(tag), *_flags(force)], purpose=f"pull `{tag}`")
    return tag


def pull_snapshot(
    name: str, *, include: list[str] | None, exclude: list[str] | None, environment: dict[str, str]
) -> str:
    """Download a snapshot of a Hugging Face repository, given as ``id@revision``, and return its directory."""
    options = [("--include", include or ()), ("--exclude", exclude or ())]
    patterns = [f"{option}={pattern}" for option, given in options for pattern in given]
    purpose = f"download `{name}`"
    printed = run(["models", "pull", f"hf://{name}", *patterns, "-o", "json"], purpose=purpose, environment=environment)
    return str(_told(printed, "path", purpose))


def _told(printed: str, key: str, purpose: str) -> object:
    """Return a field of what was printed, which must be JSON."""
    try:
        return json.loads(printed)[key]
    except (ValueError, KeyError, TypeError) as error:
        raise CLIException(f"cannot {purpose}: `{NAME}` printed `{_clean(printed)}`, without `{key}`") from error


def _flags(force: bool) -> list[str]:
    return ["--force"] if force else []


def run(arguments: list[str], *, purpose: str, environment: dict[str, str] | None = None) -> str:
    """Run the executable, and return what it prints; the purpose begins the error that tells that it failed."""
    purpose = _clean(purpose)
    executable = find()
    if executable is None:
        raise MissingDependencyException(
            f"cannot {purpose}: this is done by the `{NAME}` executable, which is neither beside this Python nor in "
            f"PATH; install it with `cargo install {NAME}`, or put it into a directory of PATH"
        )
    done = subprocess.run(  # noqa: S603 (no shell; the executable is the user's own)
        [executable, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment} if environment else None,
    )
    if done.returncode != 0:
        raise CLIException(f"cannot {purpose}: `{NAME}` failed: {_clean(done.stderr or done.stdout)}")
    return done.stdout


def find() -> str | None:
    """Return the executable: the one beside this Python, else the one in PATH."""
    beside = Path(sys.executable).parent / NAME
    return str(beside) if os.access(beside, os.X_OK) else shutil.which(NAME)


def _clean(text: str) -> str:
    return CREDENTIALS.sub("***@", text.strip().removeprefix("error: "))
