"""``Tag``: the name of a model or bento, ``name`` or ``name:version``."""

from __future__ import annotations

import base64
import functools
import logging
import re
import uuid

from .exceptions import BentoMLException

logger = logging.getLogger(__name__)

# Names and versions are directory names and, for models, Kubernetes labels: 63 is the length of a DNS label.
MAX_LENGTH = 63
PATTERN = re.compile(r"[a-z0-9]([-._a-z0-9]*[a-z0-9])?")

TOO_LONG = f"a tag's name or version must be at most {MAX_LENGTH} characters in length"
BAD_CHARACTERS = (
    "a tag's name or version must consist of lowercase alphanumeric characters, '_', '-', or '.', "
    "and must start and end with an alphanumeric character"
)


def validate_tag_str(value: str) -> None:
    """Raise ``ValueError`` unless ``value`` can be a tag's name or version."""
    reasons = []
    if len(value) > MAX_LENGTH:
        reasons.append(TOO_LONG)
    if PATTERN.fullmatch(value) is None:
        reasons.append(BAD_CHARACTERS)
    if reasons:
        raise ValueError(f"{value} is not a valid BentoML tag: {', and '.join(reasons)}")


@functools.total_ordering
class Tag:
    """A name with an optional version. Upper case is lowered, with a warning."""

    __slots__ = ("name", "version")

    def __init__(self, name: str, version: str | None = None):
        self.name = _checked(name)
        self.version = None if version is None else _checked(version)

    @classmethod
    def from_taglike(cls, taglike: Tag | str) -> Tag:
        """Return ``taglike`` itself if it is a tag, else parse it."""
        return taglike if isinstance(taglike, Tag) else cls.from_str(taglike)

    @classmethod
    def from_str(cls, text: str) -> Tag:
        """Parse ``name`` or ``name:version``, split at the first colon."""
        name, colon, version = text.partition(":")
        if not colon:
            return cls(name)
        if not version:
            raise BentoMLException(f"{text} contains trailing ':'. Maybe you meant to use `{name}:latest`?")
        try:
            return cls(name, version)
        except ValueError:
            raise BentoMLException(f"Invalid Tag {text}") from None

    def make_new_version(self) -> Tag:
        """Return this name with a generated version: 16 base32 characters, as upstream makes them."""
        if self.version is not None:
            raise ValueError("tried to run 'make_new_version' on a Tag that already has a version")
        unique = uuid.uuid1().bytes
        # time_low, time_mid, clock sequence and two bytes of the node: the fast-moving 10 of the 16 bytes.
        version = base64.b32encode(unique[:6] + unique[8:12]).decode("ascii").lower()
        return Tag(self.name, version)

    def path(self) -> str:
        """Return the directory of this tag relative to its store."""
        return self.name if self.version is None else f"{self.name}/{self.version}"

    def latest_path(self) -> str:
        """Return the file that names the latest version, relative to the store."""
        return f"{self.name}/latest"

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}:{self.version}"

    def __repr__(self) -> str:
        return f"Tag(name={self.name!r}, version={self.version!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tag):
            return NotImplemented
        return (self.name, self.version) == (other.name, other.version)

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Tag):
            return NotImplemented
        # A tag without version sorts before any version.
        return (self.name, self.version is not None, self.version or "") < (
            other.name,
            other.version is not None,
            other.version or "",
        )

    def __hash__(self) -> int:
        return hash((self.name, self.version))


def _checked(part: str) -> str:
    lowered = part.lower()
    if lowered != part:
        logger.warning("[bentoml] Converting '%s' to lowercase: '%s'.", part, lowered)
    validate_tag_str(lowered)
    return lowered
