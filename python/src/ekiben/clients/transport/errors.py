"""What goes wrong between a client and a server. No message has a token or password in it."""

from __future__ import annotations


class ConnectionFailed(ConnectionError):
    """A server could not be reached, or broke off; what it did with the request is unknown."""


class RequestTimedOut(TimeoutError):
    """A server was silent for longer than the client's timeout."""


class ProtocolError(ConnectionFailed):
    """A server did not answer in HTTP/1.1."""
