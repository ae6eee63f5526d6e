"""``Origin``: where requests go: a host, a port or a Unix socket, with TLS or not, through a proxy or not."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from ...exceptions import InvalidArgument

if TYPE_CHECKING:
    import ssl

PORTS = {"http": 80, "https": 443}
# What upstream calls Unix sockets and plain TCP.
SOCKET_SCHEMES = ("file", "unix")
TCP_SCHEME = "tcp"


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Origin:
    """A server as clients reach it. Users and passwords of URLs are kept apart, and never shown."""

    scheme: str
    host: str
    port: int
    socket: str | None = None
    authorization: str | None = field(default=None, repr=False, compare=False)

    @property
    def netloc(self) -> str:
        """What the ``host`` header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def is_secure(self) -> bool:
        """Whether there is TLS."""
        return self.scheme == "https"

    def __str__(self) -> str:
        return f"unix:{self.socket}" if self.socket else f"{self.scheme}://{self.netloc}"

    def proxy(self) -> Proxy | None:
        """Return the proxy that the environment names for this server; never one for this machine."""
        if self.socket or _is_loopback(self.host):
            return None
        from urllib.request import getproxies, proxy_bypass

        url = getproxies().get(self.scheme)
        if not url or proxy_bypass(self.host):
            return None
        parts = _split(url if "://" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise InvalidArgument(f"the proxy for `{self.scheme}` must be an HTTP one: `http://HOST:PORT`")
        return Proxy(parts.hostname, parts.port or PORTS["http"], _basic(parts))

    def tls(self) -> ssl.SSLContext | None:
        """Return what checks the server's certificate: the system's authorities, or ``SSL_CERT_FILE``."""
        if not self.is_secure:
            return None
        import ssl

        return ssl.create_default_context()


def parse_url(url: str) -> tuple[Origin, str]:
    """Return the server of a URL and the path below which all requests go, without a slash at its end."""
    parts = _split(url)
    if parts.scheme in SOCKET_SCHEMES:
        return Origin("http", "localhost", PORTS["http"], socket=unquote(parts.path)), ""
    scheme = "http" if parts.scheme == TCP_SCHEME else parts.scheme
    if scheme not in PORTS or not parts.hostname:
        raise InvalidArgument(f"`{safe_url(url)}` is no URL of a server: it must begin with `http://` or `https://`")
    try:
        port = parts.port or PORTS[scheme]
    except ValueError:
        raise InvalidArgument(f"`{safe_url(url)}` has no port number") from None
    return Origin(scheme, parts.hostname, port, authorization=_basic(parts)), parts.path.rstrip("/")


def redirected(origin: Origin, target: str, location: str) -> tuple[Origin, str]:
    """Return where a redirect of a request leads."""
    url = urljoin(f"{origin.scheme}://{origin.netloc}{target}", location)
    found, _ = parse_url(url)
    same = (found.scheme, found.host, found.port) == (origin.scheme, origin.host, origin.port)
    parts = urlsplit(url)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{parts.query}" if parts.query else "")
    return (origin if same else found), path


def safe_url(url: str) -> str:
    """Return a URL without user and password."""
    head, separator, rest = url.partition("://")
    if not separator:
        return url.rpartition("@")[2]
    authority, slash, path = rest.partition("/")
    return f"{head}://{authority.rpartition('@')[2]}{slash}{path}"


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise InvalidArgument(f"`{safe_url(url)}` is no URL") from None


def _basic(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode("utf-8")).decode("ascii")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
