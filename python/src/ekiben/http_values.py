"""Header, query and cookie values: the small part of HTTP that user code sees through ``Context``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .context import Cookie


class Headers(Mapping[str, str]):
    """Headers by case-insensitive name; a name may occur several times, a lookup gives the first."""

    def __init__(self, items: Iterable[tuple[str, str]] = ()):
        self._items = [(name.lower(), value) for name, value in items]

    def multi_items(self) -> list[tuple[str, str]]:
        """Return every pair, repeated names included."""
        return list(self._items)

    def getlist(self, name: str) -> list[str]:
        """Return all values of ``name``."""
        wanted = name.lower()
        return [value for key, value in self._items if key == wanted]

    def __getitem__(self, name: str) -> str:
        wanted = name.lower()
        for key, value in self._items:
            if key == wanted:
                return value
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(key == name.lower() for key, _ in self._items)

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._items))

    def __len__(self) -> int:
        return len(dict(self._items))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items!r})"


class MutableHeaders(Headers):
    """Headers that user code may change."""

    def __setitem__(self, name: str, value: str) -> None:
        key, value = _checked(name, value)
        at = next((i for i, (existing, _) in enumerate(self._items) if existing == key), None)
        if at is None:
            self._items.append((key, value))
            return
        rest = [item for item in self._items[at + 1 :] if item[0] != key]
        self._items[at:] = [(key, value), *rest]

    def __delitem__(self, name: str) -> None:
        key = name.lower()
        self._items = [item for item in self._items if item[0] != key]

    def __ior__(self, other: Mapping[str, str]) -> MutableHeaders:
        self.update(other)
        return self

    def __or__(self, other: Mapping[str, str]) -> MutableHeaders:
        copy = self.mutablecopy()
        copy.update(other)
        return copy

    def update(self, other: Mapping[str, str]) -> None:
        """Set every header of ``other``."""
        for name, value in other.items():
            self[name] = value

    def setdefault(self, name: str, value: str) -> str:
        """Set ``name`` unless it is set; return its value."""
        if name not in self:
            self[name] = value
        return self[name]

    def append(self, name: str, value: str) -> None:
        """Add a pair, keeping what is there under the same name."""
        self._items.append(_checked(name, value))

    def mutablecopy(self) -> MutableHeaders:
        """Return a copy."""
        return MutableHeaders(self._items)


def _checked(name: str, value: Any) -> tuple[str, str]:
    """Return a pair that can be sent: a line break in it would begin another header."""
    key, text = name.lower(), str(value)
    if not key or any(character in key + text for character in "\r\n\0"):
        raise ValueError(f"header `{name!r}` has an empty name, or a line break in its name or value")
    return key, text


class QueryParams(Mapping[str, str]):
    """Query parameters; a name may occur several times, a lookup gives the last."""

    def __init__(self, items: Iterable[tuple[str, str]]):
        self._items = list(items)
        self._last = dict(self._items)

    def multi_items(self) -> list[tuple[str, str]]:
        """Return every pair, repeated names included."""
        return list(self._items)

    def getlist(self, name: str) -> list[str]:
        """Return all values of ``name``."""
        return [value for key, value in self._items if key == name]

    def __getitem__(self, name: str) -> str:
        return self._last[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._last)

    def __len__(self) -> int:
        return len(self._last)

    def __repr__(self) -> str:
        return f"QueryParams({self._items!r})"


def parse_query(query: str) -> QueryParams:
    """Parse a raw query string; names without value are kept."""
    from urllib.parse import parse_qsl

    return QueryParams(parse_qsl(query, keep_blank_values=True))


def parse_cookies(header: str) -> dict[str, str]:
    """Parse a ``cookie`` header; a pair without ``=`` has an empty name, as browsers treat it."""
    cookies: dict[str, str] = {}
    if not header:
        return cookies
    from http.cookies import _unquote  # the standard library's own rule for quoted values

    for pair in header.split(";"):
        name, equals, value = pair.partition("=")
        if not equals:
            name, value = "", name
        if name.strip() or value.strip():
            cookies[name.strip()] = _unquote(value.strip())
    return cookies


def cookie_header(cookie: Cookie) -> str:
    """Return the value of the ``set-cookie`` header for ``cookie``."""
    from http.cookies import SimpleCookie

    jar: SimpleCookie = SimpleCookie()
    jar[cookie.key] = cookie.value
    morsel: Any = jar[cookie.key]
    attributes = {
        "max-age": cookie.max_age,
        "expires": cookie.expires,
        "path": cookie.path,
        "domain": cookie.domain,
        "samesite": cookie.samesite,
    }
    for name, value in attributes.items():
        if value is not None:
            morsel[name] = value
    if cookie.secure:
        morsel["secure"] = True
    if cookie.httponly:
        morsel["httponly"] = True
    return jar.output(header="").strip()
