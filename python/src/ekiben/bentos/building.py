"""``bentoml.build`` and its neighbours, done by the `ekiben` executable."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..stores import executable
from ..tag import Tag
from .store import bento_store

if TYPE_CHECKING:
    from .bento import Bento


def build(
    service: str,
    *,
    name: str | None = None,
    labels: dict[str, str] | None = None,
    description: str | None = None,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    envs: list[dict[str, str]] | None = None,
    docker: dict[str, Any] | None = None,
    python: dict[str, Any] | None = None,
    conda: dict[str, Any] | None = None,
    models: list[Any] | None = None,
    version: str | None = None,
    build_ctx: str | None = None,
    platform: str | None = None,
    args: dict[str, Any] | None = None,
) -> Bento:
    """Build a bento into the store. The options are the keys of a bentofile; none is read from the directory."""
    options = {
        "service": service,
        "name": name,
        "labels": labels,
        "description": description,
        "include": include,
        "exclude": exclude,
        "envs": envs,
        "docker": docker,
        "python": python,
        "conda": conda,
        "models": models,
        "args": args,
    }
    with _written({key: value for key, value in options.items() if value is not None}) as path:
        return _build(path, version=version, labels=None, build_ctx=build_ctx, platform=platform)


def build_bentofile(
    bentofile: str | None = None,
    *,
    service: str | None = None,
    name: str | None = None,
    version: str | None = None,
    labels: dict[str, str] | None = None,
    build_ctx: str | None = None,
    platform: str | None = None,
    args: dict[str, Any] | None = None,
) -> Bento:
    """Build the bento that a bentofile describes; without one, that of the directory."""
    with _written(args) as path:
        more = ["--arg-file", path] if path else []
        more += ["--name", name] if name else []
        return _build(
            bentofile,
            version=version,
            labels=labels,
            build_ctx=service if service is not None else build_ctx,
            platform=platform,
            more=more,
        )


def containerize(bento_tag: Tag | str, *, image_tag: str | tuple[str, ...] | None = None, **options: Any) -> bool:
    """Write the image of a bento, as ``ekiben containerize`` does; other options are those of that command."""
    tags = [image_tag] if isinstance(image_tag, str) else [*(image_tag or ())]
    words = [f"--image-tag={tag}" for tag in tags]
    for option, value in options.items():
        if value is True:
            words.append(f"--{option.replace('_', '-')}")
        elif value is not None and value is not False:
            words.append(f"--{option.replace('_', '-')}={value}")
    executable.run(["containerize", str(bento_tag), *words], purpose=f"make an image of `{bento_tag}`")
    return True


def _build(
    bentofile: str | None,
    *,
    version: str | None,
    labels: Mapping[str, str] | None,
    build_ctx: str | None,
    platform: str | None,
    more: list[str] | None = None,
) -> Bento:
    words = ["build", build_ctx or ".", *(more or [])]
    words += ["-f", os.path.abspath(bentofile)] if bentofile else []
    words += [f"--version={version}"] if version else []
    words += [f"--platform={platform}"] if platform else []
    words += [f"--label={key}={value}" for key, value in sorted((labels or {}).items())]
    printed = executable.run([*words, "--output", "tag"], purpose="build a bento")
    tag = printed.strip().rpartition("__tag__:")[2]
    return bento_store().get(Tag.from_str(tag))


@contextlib.contextmanager
def _written(document: Mapping[str, Any] | None) -> Iterator[str]:
    """Write options to a file for as long as the executable reads them; nothing for none."""
    if not document:
        yield ""
        return
    import yaml

    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump(dict(document), file, sort_keys=True)
        file.flush()
        yield file.name
