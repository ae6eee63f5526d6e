"""``Location``: where an archive is or goes, a local path or a URL."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

# The schemes that mean this machine's files.
LOCAL = ("file", "osfs", "tar", "zip")


@dataclass(frozen=True)
class Location:
    """A local ``path`` (text: a ``/`` at its end counts), or a ``url``; the other of the two is None."""

    path: str | None = None
    url: str | None = None

    @classmethod
    def of(
        cls,
        path: str | os.PathLike[str],
        *,
        protocol: str | None = None,
        user: str | None = None,
        passwd: str | None = None,
        params: dict[str, str] | None = None,
        subpath: str | None = None,
    ) -> Location:
        """Read a path or URL, or put a URL together from its parts."""
        text = os.fspath(path)
        parts = {"protocol": protocol, "user": user, "passwd": passwd, "params": params, "subpath": subpath}
        if "://" in text:
            if given := [name for name, value in parts.items() if value is not None]:
                raise ValueError(f"the path is a URL, so it must say itself what was given as {', '.join(given)}")
            return cls._of_url(text)
        if (protocol or "file") in LOCAL:
            return cls(path=text if subpath is None else os.path.join(text, subpath))
        host, _, inner = (text, "", subpath) if subpath is not None else text.partition("/")
        user_part = quote(user or "", safe="") + (f":{quote(passwd, safe='')}" if passwd else "")
        network = f"{user_part}@{host}" if user_part else host
        return cls(url=urlunsplit((protocol, network, f"/{inner.lstrip('/')}", urlencode(params or {}), "")))

    @classmethod
    def _of_url(cls, url: str) -> Location:
        parsed = urlsplit(url)
        if parsed.scheme not in LOCAL:
            return cls(url=url)
        return cls(path=url.partition("://")[2])

    @property
    def is_directory(self) -> bool:
        """Whether files are meant to go into it, under a name of their own."""
        if self.path is None:
            return urlsplit(self.url or "").path.endswith("/")
        return not self.path or self.path.endswith("/") or Path(self.path).is_dir()

    def shown(self) -> str:
        """Return the location without password, for messages."""
        if self.path is not None:
            return self.path
        parsed = urlsplit(self.url or "")
        return urlunsplit(parsed._replace(netloc=parsed.netloc.rpartition("@")[2], query=""))
