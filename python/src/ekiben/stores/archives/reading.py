"""Unpacking archives from anywhere: a hostile or broken one is refused whole, wherever that turns out."""

from __future__ import annotations

import bz2
import calendar
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from ...exceptions import BentoMLException
from .formats import ZIP
from .members import BadArchive, Member, Unpacker

# What the libraries raise for content that is not what it should be.
MALFORMED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    BadArchive,
)

# The longest extended header of a tar member; a name or link target is far shorter.
MAX_HEADER = 1 << 20

# How much may follow the end of a tar: padding to a tape's record.
MAX_PADDING = 1 << 20


def unpack(path: Path, into: Path, input_format: str) -> None:
    """Unpack an archive into an empty directory."""
    try:
        size = path.stat().st_size
        members = _zip_members(path) if input_format == ZIP else _tar_members(path, input_format)
        unpacker = Unpacker(into, size)
        for member in members:
            unpacker.add(member)
        unpacker.finish()
    except MALFORMED as error:
        raise BentoMLException(f"cannot unpack `{path}`: {error}") from error
    except OSError as error:
        raise BentoMLException(f"cannot unpack `{path}`: {error.strerror or error}") from error


class _Header(tarfile.TarInfo):
    """A header that is read strictly: the library takes damage after the first member for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"it is damaged or cut short: {error}") from error

    def _proc_member(self, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:
        extended = (*tarfile.GNU_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        if self.type in extended and self.type != tarfile.GNUTYPE_SPARSE and self.size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(tarfile_)  # type: ignore[misc]


def _tar_members(path: Path, input_format: str) -> Iterator[Member]:
    with path.open("rb") as file, _decompressed(file, input_format) as stream:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header, errorlevel=2) as tar:
            for member in tar:
                yield _tar_member(tar, member)
        padding = 0
        while chunk := stream.read(1 << 16):  # to the end, so that the compression's checksums are compared
            padding += len(chunk)
            if padding > MAX_PADDING:
                raise BadArchive("more follows the end of the tar")


def _tar_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Member:
    if member.isdir():
        return Member.directory(member.name, member.mode, member.mtime)
    if member.issparse():
        raise BadArchive(f"`{member.name}` is stored as a sparse file")
    if member.isreg():
        content = tar.extractfile(member)
        if content is None:
            raise BadArchive(f"`{member.name}` has no content")
        return Member.file(member.name, member.mode, member.mtime, member.size, content)
    if member.issym():
        return Member.link(member.name, member.mtime, member.linkname)
    if member.islnk():
        raise BadArchive(f"`{member.name}` is a hard link")
    raise BadArchive(f"`{member.name}` is neither a file, nor a directory, nor a link")


@contextmanager
def _decompressed(file: BinaryIO, input_format: str) -> Iterator[IO[bytes]]:
    if input_format == "tar":
        yield file
    elif input_format == "gz":
        with gzip.open(file) as stream:
            yield stream
    elif input_format == "bz2":
        with bz2.open(file) as stream:
            yield stream
    else:
        with lzma.open(file) as stream:
            yield stream


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.flag_bits & 1:
                raise BadArchive(f"`{info.filename}` is encrypted")
            mode = info.external_attr >> 16 if info.create_system == 3 else 0
            permissions, modified = stat.S_IMODE(mode), calendar.timegm(info.date_time)
            if stat.S_IFMT(mode) == stat.S_IFLNK:
                yield Member.link(info.filename, modified, archive.read(info)[:4096].decode("utf-8"))
            elif info.is_dir():
                yield Member.directory(info.filename, permissions or 0o755, modified)
            elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
                with archive.open(info) as content:
                    yield Member.file(info.filename, permissions or 0o644, modified, info.file_size, content)
            else:
                raise BadArchive(f"`{info.filename}` is neither a file, nor a directory, nor a link")
