"""``Unpacker``: the rules that keep an archive inside of its directory, as in ``src/archive/unpack.rs``.

Nothing is written outside, nothing twice, nothing through a link; links are made last and must lead to a place inside.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# A member is copied in pieces of this size.
CHUNK = 1 << 20

# More than any model has, and few enough to remember each.
MAX_MEMBERS = 1_000_000

# Weights of zeros compress well, up to here without question; beyond, real models do not compress even tenfold.
MAX_RATIO = 1000
MAX_UNSUSPICIOUS = 16 << 30

# What is left free on the disk, for everybody else.
RESERVE = 64 << 20

MAX_TARGET = 4096


class BadArchive(Exception):
    """A member breaks the rules."""


@dataclass(frozen=True)
class Member:
    """A member as the archive gives it: the name is not checked yet."""

    name: str
    mode: int
    modified: float
    size: int = 0
    content: IO[bytes] | None = None
    target: str | None = None

    @classmethod
    def directory(cls, name: str, mode: int, modified: float) -> Member:
        """Return a directory."""
        return cls(name, mode, modified)

    @classmethod
    def file(cls, name: str, mode: int, modified: float, size: int, content: IO[bytes]) -> Member:
        """Return a file, whose content is read before the next member is asked for."""
        return cls(name, mode, modified, size, content=content)

    @classmethod
    def link(cls, name: str, modified: float, target: str) -> Member:
        """Return a symbolic link."""
        return cls(name, 0o777, modified, target=target)


class Unpacker:
    """Writes members below ``root``, an empty directory."""

    def __init__(self, root: Path, archive_size: int):
        self.root = root
        self.budget = max(MAX_UNSUSPICIOUS, MAX_RATIO * archive_size)
        self.room = max(0, shutil.disk_usage(root).free - RESERVE)
        # A directory that no member has announced yet has no mode and time.
        self.directories: dict[tuple[str, ...], Member | None] = {(): None}
        self.files: set[tuple[str, ...]] = set()
        self.links: dict[tuple[str, ...], Member] = {}

    def add(self, member: Member) -> None:
        """Write one member; links are only remembered."""
        parts = _parts(member.name)
        if len(self.directories) + len(self.files) + len(self.links) > MAX_MEMBERS:
            raise BadArchive(f"it has more than {MAX_MEMBERS} members")
        self._make_parents(member.name, parts)
        is_directory = member.content is None and member.target is None
        is_implied = is_directory and parts in self.directories and self.directories[parts] is None
        if parts in self.files or parts in self.links or (parts in self.directories and not is_implied):
            raise BadArchive(f"`{member.name}` is in it twice")
        if is_directory:
            if not is_implied:
                self._path(parts).mkdir()
            self.directories[parts] = member
        elif member.target is None:
            self._write(member, self._path(parts))
            self.files.add(parts)
        elif not 0 < len(member.target) <= MAX_TARGET or member.target.startswith("/") or "\0" in member.target:
            raise BadArchive(f"`{member.name}` is a link to `{member.target[:80]}`, outside of the archive")
        else:
            self.links[parts] = member

    def finish(self) -> None:
        """Make the links, check where they lead, and set the directories' modes and times."""
        for parts, member in self.links.items():
            os.symlink(member.target or "", self._path(parts))
            os.utime(self._path(parts), (member.modified, member.modified), follow_symlinks=False)
        root = os.path.realpath(self.root)
        for parts, member in self.links.items():
            leads_to = os.path.realpath(self._path(parts))
            if leads_to != root and not leads_to.startswith(root + os.sep):
                raise BadArchive(f"`{'/'.join(parts)}` is a link to `{member.target}`, outside of the archive")
            if os.path.islink(leads_to):
                raise BadArchive(f"`{'/'.join(parts)}` is a link that leads nowhere")
        for parts, announced in sorted(self.directories.items(), key=lambda item: item[0], reverse=True):
            if announced is not None:
                path = self._path(parts)
                os.chmod(path, announced.mode & 0o777 | 0o700)  # the store must be able to delete it
                os.utime(path, (announced.modified, announced.modified))

    def _path(self, parts: tuple[str, ...]) -> Path:
        return self.root.joinpath(*parts)

    def _make_parents(self, name: str, parts: tuple[str, ...]) -> None:
        for length in range(1, len(parts)):
            parent = parts[:length]
            if parent in self.files or parent in self.links:
                raise BadArchive(f"`{name}` is below `{'/'.join(parent)}`, which is no directory")
            if parent not in self.directories:
                self._path(parent).mkdir()
                self.directories[parent] = None

    def _write(self, member: Member, path: Path) -> None:
        if member.content is None:
            raise BadArchive(f"`{member.name}` has no content")
        written = 0
        with path.open("xb") as file:
            while chunk := member.content.read(CHUNK):
                written += len(chunk)
                if written > self.room:
                    raise BadArchive("it unpacks to more than what is free on the disk")
                if written > self.budget:
                    raise BadArchive(
                        "it unpacks to far more than its size; if it is to be trusted, unpack it with another tool and "
                        "import the folder"
                    )
                file.write(chunk)
            # Readable by its owner, and without the bits that give rights away.
            os.fchmod(file.fileno(), member.mode & 0o777 | 0o400)
        os.utime(path, (member.modified, member.modified))
        self.budget -= written
        self.room -= written
        if written != member.size:
            raise BadArchive(f"`{member.name}` is cut short")


def _parts(name: str) -> tuple[str, ...]:
    if name.startswith("/"):
        raise BadArchive(f"`{name}` is an absolute path")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise BadArchive(f"`{name}` is a path out of the archive")
    if "\0" in name or not _is_utf8(name):
        raise BadArchive(f"`{name!a}` is a name that no file can have")
    return parts


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # what was no UTF-8 has become surrogates
        return False
    return True
