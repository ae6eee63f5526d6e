"""``ModelStore``: the directory ``NAME/VERSION`` of models, with a file ``NAME/latest`` per name."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..exceptions import BentoMLException, NotFound
from ..tag import Tag
from .model import Model


class ModelStore:
    """A store at ``path``. What is not finished yet is kept under ``staging``, never in the store itself."""

    def __init__(self, path: Path, staging: Path):
        self.path = path
        self.staging = staging

    def list(self, tag: Tag | str | None = None) -> list[Model]:
        """Return all models, those of a name in version order, or one version if it exists."""
        if not tag:
            names = sorted(_directories(self.path)) if self.path.is_dir() else []
            return [model for name in names for model in self._of_name(name)]
        tag = Tag.from_taglike(tag)
        if tag.version is not None:
            path = self.path / tag.path()
            return [Model.read(path)] if path.is_dir() else []
        if not (self.path / tag.name).is_dir():
            raise NotFound(f"no Models with name '{tag.name}' found")
        return self._of_name(tag.name)

    def get(self, tag: Tag | str) -> Model:
        """Return one model: exact version, unique prefix of a version, or the latest of a name."""
        wanted = Tag.from_taglike(tag)
        if wanted.version in (None, "latest"):
            return self._latest(wanted.name)
        path = self.path / wanted.path()
        if path.is_dir():
            return Model.read(path)
        versions = [
            version for version in _directories(self.path / wanted.name) if version.startswith(wanted.version or "")
        ]
        if len(versions) == 1:
            return Model.read(self.path / wanted.name / versions[0])
        if versions:
            raise BentoMLException(f"Multiple {wanted.name} versions found: {', '.join(versions)}")
        raise NotFound(
            f"Model '{tag}' is not found in BentoML store {self.path}, you may need to run `bentoml models pull` first"
        )

    def delete(self, tag: Tag | str) -> None:
        """Remove one version, and the name with its last version."""
        wanted = Tag.from_taglike(tag)
        if wanted.version in (None, "latest"):
            # A bare name means all versions to upstream's `delete`; here it takes the name's directory with it too.
            wanted = Tag(wanted.name) if wanted.version is None else self._latest(wanted.name).tag
        with self.locked(wanted.name):
            path = self.path / wanted.path()
            if not path.is_dir():
                raise NotFound(f"Model '{tag}' not found")
            self._remove(path)
            name = self.path / wanted.name
            if not name.is_dir():
                return
            if versions := self._of_name(wanted.name):
                self.write_latest(wanted.name, _newest(versions))
            else:
                self._remove(name)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the lock of a name: nobody else adds or removes one of its versions meanwhile."""
        locks = self.staging / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with open(locks / f"models--{name}.lock", "a") as file:  # closing the file gives the lock back
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def write_latest(self, name: str, model: Model) -> None:
        """Make ``model`` the latest of its name, in one step."""
        self.staging.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f"latest-{name}-", dir=self.staging)
        with open(descriptor, "w") as file:
            file.write(str(model.tag.version))
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        move(Path(temporary), self.path / name / "latest")

    def latest_or_none(self, name: str) -> Model | None:
        """Return the model that the ``latest`` file names, or None when it names none that exists."""
        version = self._latest_version(name)
        path = self.path / name / (version or "latest")
        return Model.read(path) if version and path.is_dir() else None

    def _latest(self, name: str) -> Model:
        if (named := self.latest_or_none(name)) is not None:
            return named
        # The pointer is missing, stale or empty: look at the versions, and repair it where that is possible.
        versions = self._of_name(name) if (self.path / name).is_dir() else []
        if not versions:
            raise NotFound(f"no Models with name '{name}' exist in BentoML store {self.path}")
        newest = _newest(versions)
        with suppress(OSError):  # a store in an image is read-only; the answer is right without the repair
            self.write_latest(name, newest)
        return newest

    def _latest_version(self, name: str) -> str:
        try:
            return (self.path / name / "latest").read_text().strip()
        except OSError:
            return ""

    def _of_name(self, name: str) -> list[Model]:
        return [Model.read(self.path / name / version) for version in sorted(_directories(self.path / name))]

    def _remove(self, path: Path) -> None:
        """Take a directory out of the store in one step, then delete it."""
        self.staging.mkdir(parents=True, exist_ok=True)
        grave = Path(tempfile.mkdtemp(prefix="removed-", dir=self.staging))
        try:
            move(path, grave / path.name)
        finally:
            shutil.rmtree(grave, ignore_errors=True)


def move(source: Path, target: Path) -> None:
    """Rename, or copy and delete where the two are on different file systems."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != 18:  # EXDEV
            raise
        shutil.move(str(source), str(target))


def _directories(path: Path) -> list[str]:
    if not path.is_dir():
        return []
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def _newest(models: list[Model]) -> Model:
    return max(models, key=lambda model: model.creation_time)
