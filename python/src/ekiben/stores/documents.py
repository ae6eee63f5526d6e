"""Reading ``model.yaml`` and ``bento.yaml``: whatever is wrong with a file is one error that names it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from ..exceptions import BentoMLException
from ..tag import Tag
from .kind import Kind

T = TypeVar("T")

# The largest real descriptions carry schemas of some hundred KiB; Rust reads no more, either.
MAX_SIZE = 16 << 20
# Far deeper than any description, and far from where Python's recursion ends.
MAX_DEPTH = 100


def read_document(kind: Kind, directory: Path, parse: Callable[[dict[str, Any]], T]) -> T:
    """Read the file that makes ``directory`` an item, and give its mapping to ``parse``."""
    file = directory / kind.file_name
    data = _load(kind, file)
    if not isinstance(data, dict):
        raise BentoMLException(f"malformed {kind.file_name} `{file}`: it is not a mapping")
    try:
        _refuse_cycles(data, 0)
        return parse(data)
    except KeyError as error:
        raise BentoMLException(f"malformed {kind.file_name} `{file}`: no key {error}") from error
    except (TypeError, ValueError, AttributeError, BentoMLException) as error:
        raise BentoMLException(f"malformed {kind.file_name} `{file}`: {error}") from error


def read_time(value: Any) -> datetime:
    """Read a time as YAML gives it: text or timestamp, in UTC unless it says otherwise."""
    if isinstance(value, str):
        # Python before 3.11 does not read a trailing Z.
        value = datetime.fromisoformat(value[:-1] + "+00:00" if value.endswith("Z") else value)
    return value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)


def read_tag(data: dict[str, Any]) -> Tag:
    """Read ``name`` and ``version``; numbers count as the text they are written as."""
    for key in ("name", "version"):
        if data[key] is None:
            raise KeyError(key)
    tag = Tag(str(data["name"]), str(data["version"]))
    if tag.version == "latest":
        raise ValueError("`latest` is not a version")
    return tag


def read_texts(data: Mapping[str, Any], key: str) -> dict[str, str]:
    """Read a map of text to text; other scalars count as the text they are written as."""
    value = data.get(key) or {}
    if not isinstance(value, dict):
        raise TypeError(f"`{key}` is not a map")
    return {str(name): str(text) for name, text in value.items()}


def read_text(file: Path, limit: int = MAX_SIZE) -> str:
    """Read a file that may be hostile: neither a pipe that nobody writes to nor gigabytes are waited for."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a file")
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it is larger than {limit >> 20} MiB")
    return content.decode("utf-8")


def _load(kind: Kind, file: Path) -> Any:
    import yaml

    try:
        text = read_text(file)
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 (both are safe)
    except FileNotFoundError:
        raise BentoMLException(
            f"Failed to load bento {kind.word.lower()} because it does not contain a '{kind.file_name}': "
            f"`{file.parent}`"
        ) from None
    except OSError as error:
        raise BentoMLException(f"cannot read `{file}`: {error.strerror}") from error
    except RecursionError:
        raise BentoMLException(f"malformed {kind.file_name} `{file}`: it is nested too deeply") from None
    # A scalar that looks like a date and is none raises a plain ValueError; text that is not UTF-8 does, too.
    except (yaml.YAMLError, ValueError) as error:
        raise BentoMLException(f"malformed {kind.file_name} `{file}`: {error}") from error


def _refuse_cycles(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deeply, or contains itself")
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        if isinstance(child, (dict, list)):
            _refuse_cycles(child, depth + 1)
