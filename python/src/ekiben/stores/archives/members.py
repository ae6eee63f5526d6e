"""``Unpacker``: the rules that keep an archive inside of its directory.

Nothing is written outside, nothing twice, nothing through a link; links are made last and must lead to a place inside.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# A member is copied in pieces of this size.
CHUNK = 1 << 20

# More than any model has, and few enough to remember each.
MAX_MEMBERS = 1_000_000

# An archive that unpacks to more than both is taken for a bomb. Compressed zeros reach 1000 (gzip) to 7000 (xz); real
# weights stay below 10.
MAX_RATIO = 200
MAX_UNSUSPICIOUS = 1 << 30

MAX_TARGET = 4096


class BadArchive(Exception):
    """A member breaks the rules."""


@dataclass(frozen=True)
class Member:
    """A member as the archive gives it: the name is not checked yet."""

    name: str
    mode: int = 0o777
    size: int = 0
    content: IO[bytes] | None = None
    target: str | None = None
    original: str | None = None

    @classmethod
    def directory(cls, name: str, mode: int) -> Member:
        """Return a directory."""
        return cls(name, mode)

    @classmethod
    def file(cls, name: str, mode: int, size: int, content: IO[bytes]) -> Member:
        """Return a file, whose content is read before the next member is asked for."""
        return cls(name, mode, size, content=content)

    @classmethod
    def link(cls, name: str, target: str) -> Member:
        """Return a symbolic link."""
        return cls(name, target=target)

    @classmethod
    def hard_link(cls, name: str, original: str) -> Member:
        """Return another name of an earlier member."""
        return cls(name, original=original)


class Unpacker:
    """Writes members below ``root``, an empty directory."""

    def __init__(self, root: Path, archive_size: int):
        self.root = root
        self.budget = max(MAX_UNSUSPICIOUS, MAX_RATIO * archive_size)
        self.directories: dict[tuple[str, ...], int | None] = {(): None}
        self.files: set[tuple[str, ...]] = set()
        self.links: dict[tuple[str, ...], str] = {}

    def add(self, member: Member) -> None:
        """Write one member; links are only remembered."""
        parts = _parts(member.name)
        if len(self.directories) + len(self.files) + len(self.links) > MAX_MEMBERS:
            raise BadArchive(f"it has more than {MAX_MEMBERS} members")
        self._make_parents(member.name, parts)
        if parts in self.files or parts in self.links:
            raise BadArchive(f"`{member.name}` is in it twice")
        if member.content is None and member.target is None and member.original is None:
            self._make_directory(parts, member.mode)
            return
        if parts in self.directories:
            raise BadArchive(f"`{member.name}` is in it twice")
        if member.target is not None:
            if not 0 < len(member.target) <= MAX_TARGET or member.target.startswith("/") or "\0" in member.target:
                raise BadArchive(f"`{member.name}` is a link to `{member.target[:80]}`, outside of the archive")
            self.links[parts] = member.target
            return
        if member.original is not None:
            original = _parts(member.original)
            if original not in self.files:
                raise BadArchive(f"`{member.name}` is another name of `{member.original}`, which is no earlier file")
            os.link(self._path(original), self._path(parts))
        else:
            self._write(member, self._path(parts))
        self.files.add(parts)

    def finish(self) -> None:
        """Make the links, check where they lead, and set the directories' modes."""
        for parts, target in self.links.items():
            os.symlink(target, self._path(parts))
        root = os.path.realpath(self.root)
        for parts, target in self.links.items():
            leads_to = os.path.realpath(self._path(parts))
            if leads_to != root and not leads_to.startswith(root + os.sep):
                raise BadArchive(f"`{'/'.join(parts)}` is a link to `{target}`, outside of the archive")
        for parts, mode in sorted(self.directories.items(), reverse=True):
            if mode is not None:
                os.chmod(self._path(parts), mode & 0o777 | 0o700)  # the store must be able to delete it

    def _path(self, parts: tuple[str, ...]) -> Path:
        return self.root.joinpath(*parts)

    def _make_parents(self, name: str, parts: tuple[str, ...]) -> None:
        for length in range(1, len(parts)):
            parent = parts[:length]
            if parent in self.files or parent in self.links:
                raise BadArchive(f"`{name}` is below `{'/'.join(parent)}`, which is no directory")
            self._make_directory(parent, None)

    def _make_directory(self, parts: tuple[str, ...], mode: int | None) -> None:
        if parts not in self.directories:
            self._path(parts).mkdir()
            self.directories[parts] = mode
        elif parts and mode is not None:
            self.directories[parts] = mode

    def _write(self, member: Member, path: Path) -> None:
        if member.content is None:
            raise BadArchive(f"`{member.name}` has no content")
        written = 0
        with path.open("xb") as file:
            while chunk := member.content.read(CHUNK):
                written += len(chunk)
                if written > self.budget:
                    raise BadArchive(
                        "it unpacks to far more than its size; if it is to be trusted, unpack it with another tool and "
                        "import the folder"
                    )
                file.write(chunk)
            # Readable by its owner, and without the bits that give rights away.
            os.fchmod(file.fileno(), member.mode & 0o777 | 0o400)
        self.budget -= written
        if written != member.size:
            raise BadArchive(f"`{member.name}` is cut short")


def _parts(name: str) -> tuple[str, ...]:
    if name.startswith("/"):
        raise BadArchive(f"`{name}` is an absolute path")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts or "\0" in name:
        raise BadArchive(f"`{name}` is a path out of the archive")
    return parts
