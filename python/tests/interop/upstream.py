"""The upstream package as a peer: its server on a free port, and its Python for other questions."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent / "project"
REPOSITORY = Path(__file__).parents[3]
# Upstream takes seconds to start; a busy machine may double that.
START_SECONDS = 90.0


def peer_python() -> str:
    """Return the Python that has upstream: ``EKIBEN_PEER_PYTHON``, else that of the project's set-up."""
    python = Path(os.environ.get("EKIBEN_PEER_PYTHON") or REPOSITORY / "target/peers/bin/python")
    if not python.exists():
        pytest.fail(f"upstream is not there to compare with: no {python}; run scripts/setup")
    return str(python)


class UpstreamServer:
    """``bentoml serve`` of a target in the project directory."""

    def __init__(self, target: str, home: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = open(home / "upstream.log", "w")
        self.process = subprocess.Popen(
            [peer_python(), "-m", "bentoml", "serve", target, "-p", str(self.port), "--host", "127.0.0.1"],
            cwd=PROJECT,
            env={
                **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
                "BENTOML_HOME": str(home),
                "BENTOML_DO_NOT_TRACK": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self._wait_until_ready(home)

    def _wait_until_ready(self, home: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if self.request("GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        self.stop()
        raise AssertionError("upstream did not start:\n" + (home / "upstream.log").read_text())

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body or None, headers or {})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
