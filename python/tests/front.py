"""A front for tests: the other end of a worker's socket, speaking the real protocol to a real process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

from ekiben.worker.frames import FROM_WORKER, Frame, FrameReader, encode_frame

SOURCE = Path(__file__).parents[1] / "src"
# Far above what any step takes: a worker that says nothing for so long is stuck.
TIMEOUT = 30.0


class Front:
    """Starts a worker on a target and talks to it."""

    def __init__(self, *arguments: str, cwd: Path, env: dict[str, str] | None = None, worker_id: int = 1):
        mine, theirs = socket.socketpair()
        mine.settimeout(TIMEOUT)
        self.socket = mine
        self.frames: deque[Frame] = deque()
        self.logs: list[dict[str, Any]] = []
        self.reader = FrameReader(self.frames.append, FROM_WORKER)
        self.next_id = 0
        self._stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "ekiben.worker",
                "--fd",
                str(theirs.fileno()),
                "--worker-id",
                str(worker_id),
                *arguments,
            ],
            pass_fds=[theirs.fileno()],
            cwd=cwd,
            stderr=self._stderr,
            env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
        )
        theirs.close()

    def __enter__(self) -> Front:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        try:
            self.process.wait(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def receive(self) -> Frame:
        """Return the next frame that is no log line; ``EOFError`` when the worker has closed the socket."""
        while True:
            while self.frames:
                frame = self.frames.popleft()
                if frame.type != "log":
                    return frame
                self.logs.append(frame.header)
            count = self.socket.recv_into(self.reader.buffer())
            if not count:
                raise EOFError
            self.reader.filled(count)

    def expect(self, kind: str) -> Frame:
        frame = self.receive()
        assert frame.type == kind, frame
        return frame

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        for buffer in encode_frame(header, body):
            self.socket.sendall(buffer)

    def ready(self) -> dict[str, Any]:
        """Wait until the worker takes calls; return its description."""
        described = self.expect("describe")
        self.expect("ready")
        return described.header["service"]

    def call(self, endpoint: str, body: Any = b"", *, query: str = "", headers: dict[str, str] | None = None) -> int:
        """Send a call, return its id."""
        self.next_id += 1
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send(
            {
                "type": "call",
                "id": self.next_id,
                "endpoint": endpoint,
                "method": "POST",
                "path": f"/{endpoint}",
                "query": query,
                "headers": [list(pair) for pair in (headers or {"content-type": "application/json"}).items()],
                "timeout_ms": None,
                "request_id": "0220f97cd44d1018",
            },
            sent,
        )
        return self.next_id

    def ask(self, endpoint: str, body: Any = b"", **request: Any) -> tuple[int, dict[str, str], bytes]:
        """Send a call and return status, headers and body of its reply."""
        call_id = self.call(endpoint, body, **request)
        reply = self.expect("reply")
        assert reply.header["id"] == call_id
        return reply.header["status"], dict(reply.header["headers"]), bytes(reply.body)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stderr(self) -> str:
        """Return what the worker has written to its standard error."""
        self._stderr.seek(0)
        return self._stderr.read().decode()

    def exit_status(self) -> int:
        """Read until the worker closes the socket, then return its exit status."""
        while True:
            try:
                self.receive()
            except EOFError:
                break
        return self.process.wait(timeout=TIMEOUT)
