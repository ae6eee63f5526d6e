"""``Entry``: a file, directory or symbolic link that goes into an archive."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from ...exceptions import BentoMLException

DIRECTORY_MODE = 0o755
FILE_MODE = 0o644


@dataclass(frozen=True)
class Entry:
    """What stands at ``name`` (relative, ``""`` is the root): one of source, text and target, or a directory."""

    name: str
    mode: int
    modified: float
    source: Path | None = None
    text: str | None = None
    target: str | None = None

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.source is None and self.text is None and self.target is None


def directory_entry(name: str, modified: float) -> Entry:
    """Return a directory that is nowhere on disk."""
    return Entry(name, DIRECTORY_MODE, modified)


def text_entry(name: str, text: str, modified: float) -> Entry:
    """Return a small file that is nowhere on disk."""
    return Entry(name, FILE_MODE, modified, text=text)


def tree_entries(root: Path, below: str = "") -> list[Entry]:
    """Return a directory and all below it, sorted, with names that start with ``below``.

    A link inside of the directory stays one. A link to a file elsewhere becomes that file, because the link would not
    mean the same on another machine.
    """
    root = root.resolve()
    entries = [Entry(below, stat.S_IMODE(root.stat().st_mode), root.stat().st_mtime)]
    for directory, names, files in os.walk(root, onerror=_raise):
        names.sort()
        for name in [*names, *files]:
            path = Path(directory, name)
            inner = path.relative_to(root).as_posix()
            entries.append(_entry(root, path, f"{below}/{inner}" if below else inner))
    return sorted(entries, key=lambda entry: entry.name.split("/"))


def place(entries: list[Entry], target: Path) -> None:
    """Make a directory with these entries. Links come last, so that nothing is written through one."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in entries:
        path = target / entry.name
        if entry.is_directory:
            path.mkdir(exist_ok=True)
        elif entry.source is not None:
            shutil.copyfile(entry.source, path)
        elif entry.text is not None:
            path.write_text(entry.text, encoding="utf-8")
    for entry in entries:
        if entry.target is not None:
            os.symlink(entry.target, target / entry.name)
    # The deepest first: a directory that forbids writing must be complete before, and writing changes its time.
    for entry in reversed(entries):
        if entry.name:
            if entry.target is None:
                os.chmod(target / entry.name, entry.mode)
            os.utime(target / entry.name, (entry.modified, entry.modified), follow_symlinks=False)


def _entry(root: Path, path: Path, name: str) -> Entry:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return _link(root, path, name)
    if stat.S_ISDIR(status.st_mode):
        return Entry(name, stat.S_IMODE(status.st_mode), status.st_mtime)
    if stat.S_ISREG(status.st_mode):
        return Entry(name, stat.S_IMODE(status.st_mode), status.st_mtime, source=path)
    raise BentoMLException(f"cannot archive `{path}`: it is neither a file, nor a directory, nor a link")


def _link(root: Path, path: Path, name: str) -> Entry:
    written = os.readlink(path)
    target = Path(os.path.realpath(path))
    if not os.path.isabs(written) and (target == root or root in target.parents):
        return Entry(name, 0o777, path.lstat().st_mtime, target=written)
    if not target.is_file():
        raise BentoMLException(f"cannot archive `{path}`: it is a link to `{written}`, outside of `{root}` and no file")
    return Entry(name, stat.S_IMODE(target.stat().st_mode), target.stat().st_mtime, source=target)


def _raise(error: OSError) -> None:
    raise BentoMLException(f"cannot read `{error.filename}`: {error.strerror}") from error
