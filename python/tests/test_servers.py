"""`bentoml.serve`, `Service.serve_http` and `bentoml.HTTPServer`, up to the executable that does the work.

What it does is tested with the executable itself, by `tests/it/e2e_servers.rs`.
"""

from __future__ import annotations

import os
import stat
import sys
import textwrap
from pathlib import Path
from typing import Any

import bentoml
import pytest
from bentoml.exceptions import (
    BadInput,
    BentoMLException,
    InvalidArgument,
    MissingDependencyException,
    ServerStateException,
)

from ekiben.servers.command import command
from ekiben.unsupported import NotSupportedYet

# A front of few words: it writes down what it was told, and serves what a client asks for first.
FRONT = """
    #!{python}
    import json, os, signal, sys
    from http.server import BaseHTTPRequestHandler, HTTPServer

    words = sys.argv[1:]
    given = dict(zip(words, words[1:]))
    arguments = given.get("--arg-file") and json.load(open(given["--arg-file"]))
    with open({record!r}, "w") as record:
        json.dump({{"words": words, "arguments": arguments}}, record)
    if "broken:Svc" in words:
        sys.exit(3)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = b'{{"routes": []}}'
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", int(given.get("--port", "0"))), Handler)
    if "--announce" in given:
        with open(given["--announce"], "a") as announced:
            announced.write(f"http://127.0.0.1:{{server.server_port}}\\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if "stubborn:Svc" in words:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server.serve_forever()
"""


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put such a front first in PATH; return the file with what it was told."""
    record = tmp_path / "told.json"
    directory = tmp_path / "bin"
    directory.mkdir()
    program = directory / "ekiben"
    text = textwrap.dedent(FRONT).format(python=sys.executable, record=str(record)).lstrip()
    program.write_text(text)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))  # the fixture's program is the one that is found
    return record


@bentoml.service
class Svc:
    @bentoml.api
    def echo(self, text: str) -> str:
        return text


def told(record: Path) -> Any:
    import json

    return json.loads(record.read_text())


def test_a_server_runs_for_as_long_as_the_block(record: Path) -> None:
    with bentoml.serve("svc:Svc", port=0, host="127.0.0.1", backlog=100, args={"n": 3, "deep": [None]}) as server:
        assert server.running
        assert server.client.is_ready()
        assert server.url in repr(server)
    assert not server.running
    seen = told(record)
    assert seen["arguments"] == {"n": 3, "deep": [None]}
    options = [word for word in seen["words"] if word.startswith("--")]
    assert options == ["--python", "--host", "--port", "--backlog", "--arg-file", "--announce"]
    assert seen["words"][:4] == ["serve", "svc:Svc", "--python", sys.executable]
    assert not Path(seen["words"][seen["words"].index("--arg-file") + 1]).exists()
    server.stop()  # again


def test_options_are_those_of_the_command_line(record: Path) -> None:
    with bentoml.serve(
        "svc", production=False, reload=True, working_dir="src", api_workers=2, ssl_certfile="c", ssl_version=17
    ):
        words = told(record)["words"]
    assert words[4:-2] == [
        *("--working-dir", "src", "--reload", "--development", "--api-workers", "2"),
        *("--ssl-certfile", "c", "--ssl-version", "17"),
    ]


def test_servers_that_do_not_start_are_errors(record: Path) -> None:
    with pytest.raises(ServerStateException, match="ended with status 3 before it could serve"):
        bentoml.serve("broken:Svc")


def test_a_server_that_does_not_end_is_killed(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ekiben.servers import server as room

    monkeypatch.setattr(room, "STOP_SECONDS", 0.1)
    monkeypatch.setattr(room, "EXIT_SECONDS", 0.1)
    server = bentoml.serve("stubborn:Svc", port=0)
    server.stop()
    assert not server.running


def test_without_the_executable_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(MissingDependencyException, match="install it with `cargo install ekiben`"):
        bentoml.serve("svc:Svc")


def test_what_is_not_there_is_refused_by_name(record: Path) -> None:
    with pytest.raises(NotSupportedYet, match="grpc"):
        bentoml.serve("svc", server_type="grpc")
    with pytest.raises(BadInput, match="Unknown server type: 'x'"):
        bentoml.serve("svc", server_type="x")
    with pytest.raises(NotSupportedYet, match="env"):
        bentoml.serve("svc", env="conda")
    with pytest.raises(TypeError, match="enable_reflection"):
        bentoml.serve("svc", enable_reflection=True)
    with pytest.raises(InvalidArgument, match="`int` cannot be served"):
        bentoml.serve(5)  # type: ignore[arg-type]
    assert not record.exists()


def test_services_and_bentos_are_served_from_where_they_are(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = command(Svc, None, {})
    assert words[2] == f"{__name__}:Svc"
    assert words[words.index("--working-dir") + 1] == os.getcwd()
    assert command(bentoml.Tag("iris", "v1"), ".", {})[2] == "iris:v1"
    with Svc.serve_http(port=0, threaded=True, ssl_certfile="c", working_dir="elsewhere") as server:
        assert server.running
    assert told(record)["words"][-8:-2] == ["--working-dir", "elsewhere", "--port", "0", "--ssl-certfile", "c"]
    with pytest.raises(TypeError, match="no option `bad`"):
        Svc.serve_http(bad=1)


def test_a_script_serves_itself(record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = type(sys)("__main__")
    main.__file__ = str(tmp_path / "deep" / "script.py")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__main__", main)

    class Own:
        @bentoml.api
        def echo(self, text: str) -> str:
            return text

    Own.__module__ = "__main__"
    main.Own = bentoml.service(Own)  # type: ignore[attr-defined]
    words = command(main.Own, None, {})  # type: ignore[attr-defined]
    assert words[2] == "script.py:Own"
    assert words[words.index("--working-dir") + 1] == str(tmp_path / "deep")
    del main.__file__
    with pytest.raises(BentoMLException, match="in a console or notebook"):
        command(main.Own, None, {})  # type: ignore[attr-defined]


def test_the_older_server_starts_when_told(record: Path) -> None:
    from http_script import unused_port

    server = bentoml.HTTPServer("svc:svc", port=unused_port(), host="127.0.0.1", timeout_keep_alive=7)
    with pytest.raises(ServerStateException, match="call `start"):
        server.get_client()
    with server.start() as client:
        assert client.endpoints == {}  # a service of a class: the newer client
        assert server.process is not None
    assert server.process.poll() is not None
    assert told(record)["words"][-2:] == ["--timeout-keep-alive", "7"]
    with pytest.raises(ServerStateException, match="ended with status 3"):
        bentoml.legacy.HTTPServer("broken:Svc", port=unused_port()).start()
