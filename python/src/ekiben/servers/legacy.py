"""``bentoml.HTTPServer``: the older way to start a server from Python."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

from ..exceptions import ServerStateException
from ..unsupported import NotSupportedYet
from .command import command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .command import Servable

STOP_TIMEOUT = 5
LOCAL = "127.0.0.1"
ANY = "0.0.0.0"  # noqa: S104 (the default of servers, here only compared)


class HTTPServer:
    """A server that ``start`` starts: ``with HTTPServer("service:svc").start() as client``."""

    def __init__(
        self,
        bento: Servable,
        reload: bool = False,
        production: bool = True,
        env: str | None = None,
        host: str = ANY,
        port: int = 3000,
        timeout: float = 10,
        working_dir: str | None = None,
        api_workers: int | None = None,
        backlog: int = 2048,
        **options: Any,
    ):
        if env is not None:
            raise NotSupportedYet("bentoml.HTTPServer(env=...)", "run this in the environment instead")
        self.servable = self.bento = bento
        self.host = LOCAL if host == ANY else host
        self.port = port
        self.timeout = timeout
        self.process: subprocess.Popen[Any] | None = None
        self.args = command(
            bento,
            working_dir,
            {
                "host": host,
                "port": port,
                "backlog": backlog,
                "development": not production,
                "reload": reload,
                "api_workers": api_workers,
                **options,
            },
        )

    def start(
        self,
        blocking: bool = False,
        env: Mapping[str, str] | None = None,
        stdin: Any = subprocess.DEVNULL,
        stdout: Any = None,
        stderr: Any = None,
        text: bool | None = None,
    ) -> Running:
        """Start the server and wait until it is ready; with ``blocking``, until it has ended."""
        self.process = subprocess.Popen(  # noqa: S603 (no shell; the executable is the user's own)
            self.args,
            env={**os.environ, **(env or {})},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=bool(text),
        )
        try:
            self.wait_until_ready()
            if blocking:
                self.process.wait()
        except BaseException as error:
            self.stop()
            if not (blocking and isinstance(error, KeyboardInterrupt)):
                raise
        return Running(self)

    def wait_until_ready(self) -> None:
        """Return when the server takes calls; raise when it ends before, or takes longer than ``timeout``."""
        from ..clients.transport.blocking import BlockingPool
        from ..clients.transport.errors import ConnectionFailed, RequestTimedOut
        from ..clients.transport.messages import Request
        from ..clients.transport.origin import parse_url

        pool = BlockingPool(parse_url(self._url)[0], [], self.timeout)
        end = time.monotonic() + self.timeout
        while time.monotonic() < end:
            self._check_running()
            try:
                if pool.send(Request("GET", "/readyz")).status_code == 200:
                    pool.close()
                    return
            except (ConnectionFailed, RequestTimedOut):
                pass
            time.sleep(0.05)
        raise TimeoutError(f"Timed out waiting {self.timeout} seconds for server at '{self.host}:{self.port}'")

    def get_client(self) -> Any:
        """Return a client: of the older kind for a service of functions, else a ``SyncHTTPClient``."""
        from ..clients.legacy import HTTPClient, is_legacy

        self._check_running()
        if is_legacy(self._url):
            return HTTPClient.from_url(self._url)
        from ..clients.blocking import SyncHTTPClient

        return SyncHTTPClient(self._url)

    def stop(self) -> None:
        """End the server."""
        process = self.process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.communicate(timeout=STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> HTTPServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def _check_running(self) -> None:
        if self.process is None:
            raise ServerStateException("the server was not started: call `start()` first")
        status = self.process.poll()
        if status is not None:
            raise ServerStateException(f"the server has ended with status {status}; its log says why")


class Running:
    """A server that was started; ``with`` gives a client of it and stops the server at the end."""

    def __init__(self, server: HTTPServer):
        self._server = server

    def __enter__(self) -> Any:
        return self._server.get_client()

    def __exit__(self, *_: object) -> None:
        self._server.stop()
