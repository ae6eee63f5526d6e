"""``Server``: a server that this process has started."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Any

from ..exceptions import ServerStateException, ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..clients.blocking import SyncHTTPClient

# How long a server may take to answer what it has begun before it is told to end at once.
STOP_SECONDS = 60.0
# For those who do not wait: an interpreter that exits.
EXIT_SECONDS = 10.0
# How long `client` waits for the workers: models may be large.
READY_SECONDS = 600.0
POLL_SECONDS = 0.05


class Server:
    """A server in a process of its own; ``with`` stops it at the end."""

    def __init__(self, command: list[str], *, arguments: Mapping[str, Any] | None = None, own_terminal: bool = True):
        with _argument_file(arguments) as options:
            self._process, self.url = _start([*command, *options], own_terminal=own_terminal)
        self._client: SyncHTTPClient | None = None

    @property
    def running(self) -> bool:
        """Whether the server has not ended."""
        return self._process.poll() is None

    @property
    def client(self) -> SyncHTTPClient:
        """A client of the server, once it is ready."""
        if self._client is None:
            self._client = self._connect()
        return self._client

    def start(self) -> None:
        """Do nothing: the server runs already."""

    def wait(self) -> None:
        """Wait until the server ends; Ctrl-C ends it."""
        try:
            self._process.wait()
        except KeyboardInterrupt:
            self.stop()

    def stop(self) -> None:
        """End the server; it answers the requests that it has begun."""
        if self._client is not None:
            self._client.close()
        _end(self._process, STOP_SECONDS)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"Server(url={self.url!r})"

    def _connect(self) -> SyncHTTPClient:
        from ..clients.blocking import SyncHTTPClient

        end = time.monotonic() + READY_SECONDS
        while self.running:
            try:
                return SyncHTTPClient(self.url, server_ready_timeout=1)
            except ServiceUnavailable:
                if time.monotonic() > end:
                    raise
        raise ServerStateException(f"the server has ended with status {self._process.returncode}; its log says why")


# The servers that the interpreter does not leave behind.
_started: list[subprocess.Popen[bytes]] = []


@atexit.register
def _end_all() -> None:
    for process in _started:
        _end(process, EXIT_SECONDS)


@contextlib.contextmanager
def _argument_file(arguments: Mapping[str, Any] | None) -> Iterator[list[str]]:
    """Write the arguments of a service to a file for as long as the server starts: their types are kept there."""
    if not arguments:
        yield []
        return
    import json

    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        json.dump(dict(arguments), file)  # JSON is YAML, too
        file.flush()
        yield ["--arg-file", file.name]


def _start(command: list[str], *, own_terminal: bool) -> tuple[subprocess.Popen[bytes], str]:
    """Start a server and return it with its address, once its service is imported."""
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 (no shell; the executable is the user's own)
            [*command, "--announce", f"/dev/fd/{writing}"],
            pass_fds=(writing,),
            # Ctrl-C comes to this process, which decides what it means.
            start_new_session=own_terminal,
            # It ends with this process, however this one ends: nobody else holds the pipe.
            stdin=subprocess.PIPE if own_terminal else None,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        with open(reading, encoding="utf-8") as announced:
            url = announced.readline().strip()  # nothing when the server ends before
    except BaseException:
        _end(process, EXIT_SECONDS)
        raise
    if not url:
        status = process.wait()
        raise ServerStateException(f"the server ended with status {status} before it could serve; its log says why")
    _started.append(process)
    return process, url


def _end(process: subprocess.Popen[bytes], patience: float) -> None:
    """Ask a server to end, then tell it to drop what it does, then kill it."""
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        process.send_signal(number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            patience = EXIT_SECONDS
    if process.stdin is not None:
        process.stdin.close()
