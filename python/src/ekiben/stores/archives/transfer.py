"""Export and import: what is local happens here, URLs are left to the `ekiben` executable."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...exceptions import BentoMLException
from .. import executable
from ..kind import BENTO, MODEL
from ..staging import sync, sync_tree
from .contents import place, tree_entries
from .formats import FOLDER, ZSTD, checked_format, format_of_file, format_of_name
from .location import Location
from .reading import unpack
from .writing import write_archive

if TYPE_CHECKING:
    from ..item import Item
    from ..store import Store


def export_item(item: Item, location: Location, output_format: str | None) -> str:
    """Write an item to a location, and return where it is: an absolute path, or the path in the URL."""
    kind = item.kind
    wanted = format_of_name(kind, location.path or location.shown())
    if output_format is not None:
        wanted = checked_format(kind, output_format)
    purpose = f"export `{item.tag}` to `{location.shown()}`"
    if location.url is not None:
        form = "native" if output_format == kind.extension else output_format
        return executable.export(item, location.url, purpose=purpose, form=form)
    if wanted == FOLDER:
        return _export_folder(item, Path(location.path or "."))
    target = _target(item, location, wanted)
    if wanted == ZSTD:
        return executable.export(item, str(target), purpose=purpose, form=ZSTD)
    _check_parent(target, purpose)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with open(descriptor, "wb") as file:
            write_archive(item.archive_entries(), file, wanted)
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            os.fsync(file.fileno())
        os.replace(temporary, target)
        sync(target.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return str(target)


def import_item(store: Store[Any], location: Location, input_format: str | None) -> Any:
    """Add what is at a location to a store, under the tag that it carries. A bad archive adds nothing."""
    kind = store.kind
    wanted = None if input_format is None else checked_format(kind, input_format)
    purpose = f"import `{location.shown()}`"
    if location.url is not None:
        return store.get(executable.import_from(kind, location.url, purpose=purpose))
    path = Path(location.path or ".").absolute()
    if not path.exists():
        raise BentoMLException(f"cannot {purpose}: there is no `{path}`")
    if wanted is None:
        wanted = FOLDER if path.is_dir() else format_of_file(path)
    if wanted == ZSTD:
        return store.get(executable.import_from(kind, str(path), purpose=purpose))
    with store.stage("import") as content:
        if wanted == FOLDER:
            place(tree_entries(path), content)
        else:
            unpack(path, content, wanted)
        other = BENTO if kind is MODEL else MODEL
        if not (content / kind.file_name).exists() and (content / other.file_name).exists():
            raise BentoMLException(
                f"cannot {purpose}: it holds a {other.word.lower()}, not a {kind.word.lower()}: "
                f"it has a '{other.file_name}' and no '{kind.file_name}'"
            )
        return store.register(content)


def _target(item: Item, location: Location, wanted: str) -> Path:
    path = location.path or ""
    if location.is_directory:
        path = os.path.join(path, f"{item.tag.name}-{item.tag.version}.{wanted}")
    elif wanted == item.kind.extension and not path.endswith(f".{wanted}"):
        path += f".{wanted}"
    return Path(path).absolute()


def _export_folder(item: Item, target: Path) -> str:
    target = target.absolute()
    if target.is_dir():
        target = target / str(item.tag.version)
    purpose = f"export `{item.tag}` to `{target}`"
    if target.exists():
        raise BentoMLException(f"cannot {purpose}: it exists already")
    _check_parent(target, purpose)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
        content = Path(temporary, "content")
        place(item.archive_entries(), content)
        sync_tree(content)
        os.replace(content, target)
    sync(target.parent)
    return str(target)


def _check_parent(target: Path, purpose: str) -> None:
    if not target.parent.is_dir():
        raise BentoMLException(f"cannot {purpose}: there is no directory `{target.parent}`")


def _umask() -> int:
    """Return the umask, which Linux tells only to those who set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
