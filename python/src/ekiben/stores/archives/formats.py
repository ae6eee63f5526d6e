"""The formats of archives: their names, and how they are told by a path or by the first bytes."""

from __future__ import annotations

from pathlib import Path

from ...exceptions import BentoMLException
from ..kind import Kind

FOLDER = "folder"
ZIP = "zip"
ZSTD = "zst"
XZ = "xz"

# Extension or format -> the format that is meant. The native extensions are added per kind: they mean `xz`.
FORMATS = ("gz", XZ, "bz2", "tar", ZIP, ZSTD)

# The first bytes of each format; anything else is read as a plain tar.
MAGIC = {
    b"\xfd7zXZ\x00": XZ,
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"PK\x03\x04": ZIP,
    b"PK\x05\x06": ZIP,
    b"\x28\xb5\x2f\xfd": ZSTD,
}


def format_of_name(kind: Kind, name: str) -> str:
    """Return the format that a file name's last extension means: the kind's own unless it is one of the others."""
    extension = Path(name).suffix[1:]
    return extension if extension in FORMATS else kind.extension


def format_of_file(path: Path) -> str:
    """Return the format of a file, by its first bytes."""
    try:
        with path.open("rb") as file:
            start = file.read(max(map(len, MAGIC)))
    except OSError as error:
        raise BentoMLException(f"cannot read archive `{path}`: {error.strerror}") from error
    return next((name for magic, name in MAGIC.items() if start.startswith(magic)), "tar")


def checked_format(kind: Kind, name: str) -> str:
    """Return a format that the caller has named, or raise."""
    if name not in (*FORMATS, FOLDER, kind.extension):
        raise ValueError(f"Unsupported format {name}")
    return name
