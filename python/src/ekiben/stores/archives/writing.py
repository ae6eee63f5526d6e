"""Writing archives: tar with a compression, or zip. The same item gives the same bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import shutil
import stat
import tarfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

from .contents import Entry
from .formats import ZIP
from .xz import XzWriter

# Moves files between buffers of this size.
CHUNK = 1 << 20

# Of gzip and deflate: what most tools use when nothing is said.
LEVEL = 6

# The first moment that a zip file can name.
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_archive(entries: list[Entry], file: BinaryIO, output_format: str) -> None:
    """Write entries in a format. The members have no owner: who exports must not change the bytes."""
    if output_format == ZIP:
        _write_zip(entries, file)
        return
    with (
        _compressed(file, output_format) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK) as tar,
    ):
        for entry in entries:
            _add(tar, entry)


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    member = tarfile.TarInfo(f"./{entry.name}")
    member.mode, member.mtime = entry.mode, entry.modified
    if entry.is_directory:
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    elif entry.target is not None:
        member.type, member.linkname = tarfile.SYMTYPE, entry.target
        tar.addfile(member)
    else:
        with _opened(entry) as source:
            member.size = source.seek(0, io.SEEK_END)
            source.seek(0)
            tar.addfile(member, source)


@contextmanager
def _compressed(file: BinaryIO, output_format: str) -> Iterator[IO[bytes]]:
    if output_format == "tar":
        yield file
    elif output_format == "gz":
        with gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=file, mtime=0) as stream:
            yield stream
    elif output_format == "bz2":
        with bz2.open(file, "wb") as stream:
            yield stream
    else:
        with XzWriter(file) as stream:
            yield stream


def _write_zip(entries: list[Entry], file: BinaryIO) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
        for entry in entries:
            if not entry.name:
                continue  # the root has no name in a zip file
            date = max(time.gmtime(entry.modified)[:6], ZIP_EPOCH)
            info = zipfile.ZipInfo(f"{entry.name}/" if entry.is_directory else entry.name, date)
            info.create_system = 3  # Unix: the upper half of the attributes is the mode
            info.compress_type = zipfile.ZIP_DEFLATED
            kind = stat.S_IFDIR if entry.is_directory else stat.S_IFLNK if entry.target is not None else stat.S_IFREG
            info.external_attr = (kind | entry.mode) << 16
            if entry.is_directory:
                info.external_attr |= 0x10  # the directory bit of DOS
                archive.writestr(info, b"")
            elif entry.target is not None:
                archive.writestr(info, entry.target)
            else:
                with _opened(entry) as source, archive.open(info, "w", force_zip64=True) as member:
                    shutil.copyfileobj(source, member, CHUNK)


def _opened(entry: Entry) -> IO[bytes]:
    if entry.source is not None:
        return entry.source.open("rb")
    return io.BytesIO((entry.text or "").encode())
