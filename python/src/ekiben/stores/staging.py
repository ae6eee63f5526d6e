"""Directories in which items are prepared, and the locks of a home.

Each staging directory stands in the home's ``tmp`` and holds a locked marker beside its content. A process that is
killed leaves both; the lock is then free, and the next writer sweeps them away. The `ekiben` executable does the same
with the same names (``src/store/stage.rs``), so each sweeps and respects what the other leaves.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "ekiben-staging-"
MARKER = "in-use"
CONTENT = "content"
# Where the executable keeps an old item for a moment while the new one takes its place, as KIND/NAME/VERSION.
REPLACED = "replaced"


@contextmanager
def staged(scratch: Path, directory: str, name: str) -> Iterator[Path]:
    """Yield an empty directory below ``scratch`` that becomes an item; what is left of it goes at the end."""
    scratch.mkdir(parents=True, exist_ok=True)
    # No sweeper may see the directory before its marker is locked.
    with locked(scratch, "staging.lock"):
        _sweep(scratch)
        stage = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{directory}-{name}-", dir=scratch))
        marker = open(stage / MARKER, "w")  # noqa: SIM115 (closed below; closing gives the lock back)
        fcntl.flock(marker, fcntl.LOCK_EX)
    try:
        content = stage / CONTENT
        content.mkdir()  # with the mode that the user's umask gives, unlike `mkdtemp`
        yield content
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        marker.close()


@contextmanager
def locked(scratch: Path, file: str) -> Iterator[None]:
    """Hold one of a home's locks: an exclusive ``flock`` on a file in ``tmp/locks``."""
    locks = scratch / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with open(locks / file, "a") as lock:  # closing the file gives the lock back
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sync_tree(root: Path) -> None:
    """Wait until every file and directory below ``root`` is on disk."""
    for directory, _, files in os.walk(root, topdown=False):
        for name in files:
            if not os.path.islink(os.path.join(directory, name)):
                sync(Path(directory, name))
        sync(Path(directory))


def sync(path: Path) -> None:
    """Wait until a file or the entries of a directory are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(scratch: Path, path: Path, text: str) -> None:
    """Replace a small file in one step."""
    descriptor, temporary = tempfile.mkstemp(prefix="ekiben-", dir=scratch)
    try:
        with open(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        move(Path(temporary), path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def move(source: Path, target: Path) -> None:
    """Rename, or copy and delete where the two are on different file systems."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != 18:  # EXDEV
            raise
        shutil.move(str(source), str(target))


def _sweep(scratch: Path) -> None:
    with os.scandir(scratch) as entries:
        abandoned = [entry.path for entry in entries if entry.name.startswith(PREFIX) and _is_abandoned(entry.path)]
    for path in abandoned:
        # What cannot be put back stays for the next.
        with suppress(OSError):
            _put_back(scratch.parent, Path(path))
            shutil.rmtree(path, ignore_errors=True)


def _put_back(home: Path, stage: Path) -> None:
    """Put an old item back to its place, if that is empty because its replacement never got there."""
    # The new one is gone from here as soon as it has its place.
    if not (stage / CONTENT).is_dir():
        return
    replaced = stage / REPLACED
    for item in replaced.glob("*/*/*"):
        target = home / item.relative_to(replaced)
        if os.path.lexists(target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(item, target)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # somebody else was faster: there is a whole item
                raise
        else:
            sync(target.parent)


def _is_abandoned(stage: str) -> bool:
    try:
        with open(os.path.join(stage, MARKER)) as marker:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except FileNotFoundError:
        # Its maker was killed between two steps under the lock that is held now.
        return True
    except OSError:
        return False  # in use, or somebody else's
