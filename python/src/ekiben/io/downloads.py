"""URLs in the place of files: fetched by the server, from public addresses only.

A client that names a URL makes the server send a request. Without a guard it would reach what the client itself
cannot: services on loopback, in the private network, the cloud's metadata. Every address that a name leads to is
checked, on redirects too, and the connection goes to the address that was checked, not to the name again.

``EKIBEN_URL_INPUTS`` changes that: ``any`` lifts the guard, for tests and closed networks; ``off`` refuses all URLs.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import posixpath
import socket
import tempfile
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit

from ..exceptions import BadInput
from .uploads import Upload

SWITCH = "EKIBEN_URL_INPUTS"
# A longer text is no URL that anybody wrote.
MAX_URL = 8 * 1024
# One connection, one read.
STEP_SECONDS = 10.0
# A whole download; below the default timeout of a request.
TOTAL_SECONDS = 50.0
MAX_BYTES = 1 << 30
# Kept in memory; a larger download goes to disk while it arrives.
MEMORY_BYTES = 1 << 20
READ_SIZE = 256 * 1024
# Addresses that stand for IPv4 ones behind a translating gateway.
NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = Any  # ipaddress.IPv4Address | ipaddress.IPv6Address


def url_in(text: str | bytes | bytearray | memoryview) -> str | None:
    """Return the URL that a text is, in quotes or not; None for anything else."""
    if len(text) > MAX_URL:
        return None
    if not isinstance(text, str):
        try:
            text = bytes(text).decode("ascii")
        except UnicodeDecodeError:
            return None
    url = text.strip().strip("\"'")
    is_url = url.lower().startswith(("http://", "https://")) and url.isprintable() and " " not in url
    return url if is_url else None


def download(url: str) -> Upload:
    """Fetch a URL; what goes wrong is the client's fault, who has named it."""
    policy = os.environ.get(SWITCH, "public")
    if policy == "off":
        raise BadInput("URL inputs are turned off")
    deadline = time.monotonic() + TOTAL_SECONDS
    try:
        with _opener(is_guarded=policy != "any").open(url, timeout=STEP_SECONDS) as response:
            content = _read(response, deadline)
            media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            name = posixpath.basename(unquote(urlsplit(response.url).path))
    except urllib.error.HTTPError as error:
        raise BadInput(f"Failed to download the file: its server answered {error.code}") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, _RefusedAddressError):
            raise BadInput("Connection blocked due to insecure input URL") from error
        raise BadInput("Failed to download the file: its server cannot be reached") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise BadInput("Failed to download the file: the connection broke off") from error
    return Upload(content, name or None, media_type or None)


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to the public network, whatever way it is written."""
    embedded = [getattr(address, name, None) for name in ("ipv4_mapped", "sixtofour")]
    embedded += getattr(address, "teredo", None) or []
    if address.version == 6 and address in NAT64:
        embedded.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    inner = [other for other in embedded if other is not None]
    if getattr(address, "ipv4_mapped", None) is not None:
        return all(is_public(other) for other in inner)
    return address.is_global and not address.is_multicast and all(is_public(other) for other in inner)


class _RefusedAddressError(OSError):
    """The address is none of the public network."""


def _read(response: Any, deadline: float) -> Any:
    file = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115 (it stays open: it is the upload)
    length = 0
    while chunk := response.read1(READ_SIZE):
        length += len(chunk)
        if length > MAX_BYTES:
            raise BadInput(f"Failed to download the file: it is larger than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise BadInput(f"Failed to download the file: it takes longer than {TOTAL_SECONDS:.0f} seconds")
        file.write(chunk)
    if response.length:
        raise BadInput("Failed to download the file: the connection broke off")
    return file


def _opener(*, is_guarded: bool) -> urllib.request.OpenerDirector:
    """Make an opener of HTTP and HTTPS alone, without proxies: behind one the address could not be checked."""
    opener = urllib.request.OpenerDirector()
    handlers = [
        _HttpHandler(is_guarded),
        _HttpsHandler(is_guarded),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ]
    for handler in handlers:
        opener.add_handler(handler)
    opener.addheaders = [("user-agent", "ekiben")]
    return opener


def _connect(host: str, port: int, timeout: float, *, is_guarded: bool) -> socket.socket:
    """Connect to the first address of a host that answers; all of them must be public."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if is_guarded:
        for *_, where in found:
            if not is_public(ipaddress.ip_address(str(where[0]).partition("%")[0])):
                raise _RefusedAddressError("the address is not public")
    failure = OSError("the host has no address")
    for family, kind, protocol, _, where in found:
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(timeout)
        try:
            connection.connect(where)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


class _HttpConnection(http.client.HTTPConnection):
    is_guarded = True

    def connect(self) -> None:
        self.sock = _connect(self.host, self.port, STEP_SECONDS, is_guarded=self.is_guarded)


class _HttpsConnection(http.client.HTTPSConnection):
    is_guarded = True

    def connect(self) -> None:
        plain = _connect(self.host, self.port, STEP_SECONDS, is_guarded=self.is_guarded)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)  # type: ignore[attr-defined]


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, is_guarded: bool):
        super().__init__()
        self._is_guarded = is_guarded

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_connection(_HttpConnection, self._is_guarded), request)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, is_guarded: bool):
        super().__init__()
        self._is_guarded = is_guarded

    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_connection(_HttpsConnection, self._is_guarded), request)


def _connection(kind: Any, is_guarded: bool) -> Any:
    def make(host: str, **options: Any) -> Any:
        connection = kind(host, **options)
        connection.is_guarded = is_guarded
        return connection

    return make
