"""A real worker process over a real socket pair (docs/formats/worker-protocol.md)."""

from __future__ import annotations

import gc
import json
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from front import TIMEOUT, Front

from ekiben.worker.frames import encode_frame

Serve = Callable[..., Front]

ECHO = """
@bentoml.service
class Svc:
    @bentoml.api
    def echo(self, text: str) -> str:
        return text
"""


def hooks(log: Path) -> str:
    return f"""
    import asyncio, pathlib, time
    log = pathlib.Path({str(log)!r})
    def note(text):
        with log.open("a") as file:
            file.write(text + "\\n")
    @bentoml.service
    class Svc:
        def __init__(self):
            asyncio.get_running_loop()
            note("init")
        @bentoml.on_deployment
        def deploy():
            note("deployment")
        @bentoml.on_startup
        async def b_async(self):
            await asyncio.sleep(0)
            note("startup b")
        @bentoml.on_startup
        def a_sync(self):
            note("startup a")
        @bentoml.on_shutdown
        def z_last(self):
            note("shutdown z")
        @bentoml.on_shutdown
        async def y_first(self):
            note("shutdown y")
        @bentoml.api
        def slow(self, seconds: float) -> str:
            note("call begins")
            time.sleep(seconds)
            note("call ends")
            return "done"
        @bentoml.api
        async def wait(self, seconds: float) -> str:
            try:
                note("wait begins")
                await asyncio.sleep(seconds)
            finally:
                note("wait ends")
            return "done"
    """


STARTED = ["deployment", "init", "startup a", "startup b"]
STOPPED = ["shutdown y", "shutdown z"]


def wait_for(log: Path, line: str) -> None:
    """Wait until user code has written a line."""
    deadline = time.monotonic() + TIMEOUT
    while not log.exists() or line not in log.read_text().splitlines():
        assert time.monotonic() < deadline, f"no {line!r} in {log}"
        time.sleep(0.01)


# life


def test_describe_then_ready_then_calls(serve: Serve) -> None:
    front = serve(ECHO)
    described = front.expect("describe").header
    assert described["protocol"] == 2
    service = described["service"]
    assert set(service) == {
        "name", "import_string", "description", "path_prefix", "config", "slots", "endpoints", "models", "schema",
        "openapi", "user_metrics", "units", "middlewares", "command",
    }  # fmt: skip
    assert (service["name"], service["import_string"], service["slots"]) == ("Svc", "service:Svc", 1)
    assert front.expect("ready").header == {"type": "ready"}
    assert front.ask("echo", {"text": "hi"}) == (200, {"content-type": "text/plain; charset=utf-8"}, b"hi")


@pytest.mark.parametrize("how", ["drain", "SIGTERM", "end of file"])
def test_hooks_run_and_the_exit_status_is_0(serve: Serve, tmp_path: Path, how: str) -> None:
    log = tmp_path / "log"
    front = serve(hooks(log))
    front.ready()
    if how == "drain":
        front.send({"type": "drain"})
    elif how == "SIGTERM":
        front.terminate()
    else:
        front.socket.shutdown(1)
    assert front.exit_status() == 0
    assert log.read_text().splitlines() == STARTED + STOPPED


@pytest.mark.parametrize("how", ["drain", "SIGTERM"])
def test_calls_begun_are_finished_before_the_hooks(serve: Serve, tmp_path: Path, how: str) -> None:
    log = tmp_path / "log"
    front = serve(hooks(log))
    front.ready()
    call_id = front.call("slow", {"seconds": 0.3})
    wait_for(log, "call begins")
    if how == "drain":
        front.send({"type": "drain"})
    else:
        front.terminate()
    reply = front.expect("reply")
    assert (reply.header["id"], bytes(reply.body)) == (call_id, b"done")
    assert front.exit_status() == 0
    assert log.read_text().splitlines() == [*STARTED, "call begins", "call ends", *STOPPED]


def test_end_of_file_cancels_asynchronous_calls(serve: Serve, tmp_path: Path) -> None:
    log = tmp_path / "log"
    front = serve(hooks(log))
    front.ready()
    front.call("wait", {"seconds": 3600})
    wait_for(log, "wait begins")
    front.socket.shutdown(1)
    assert front.exit_status() == 0
    assert log.read_text().splitlines() == [*STARTED, "wait begins", "wait ends", *STOPPED]


def test_only_the_first_worker_runs_deployment_hooks(serve: Serve, tmp_path: Path) -> None:
    log = tmp_path / "log"
    serve(hooks(log), worker_id=2).ready()
    assert log.read_text().splitlines() == STARTED[1:]


def test_sigint_is_left_to_the_front(serve: Serve) -> None:
    import signal

    front = serve(ECHO)
    front.ready()
    front.process.send_signal(signal.SIGINT)
    assert front.ask("echo", {"text": "still here"})[2] == b"still here"


def test_sigterm_while_starting(serve: Serve, tmp_path: Path) -> None:
    log = tmp_path / "log"
    front = serve(
        f"""
    import time, pathlib
    @bentoml.service
    class Svc:
        def __init__(self):
            pathlib.Path({str(log)!r}).write_text("init\\n")
            time.sleep(3600)
        @bentoml.api
        def f(self) -> None: ...
    """
    )
    front.expect("describe")
    wait_for(log, "init")
    front.terminate()
    assert front.exit_status() == 0


def test_what_the_protocol_does_not_allow_stops_the_worker(serve: Serve) -> None:
    front = serve(ECHO)
    front.ready()
    front.send({"type": "dance"})
    assert front.exit_status() == 0
    assert "closing the connection to the front: unknown frame type 'dance'" in front.stderr()


@pytest.mark.parametrize(
    ("source", "target", "stage", "message"),
    [
        ("import no_such_module", "service:Svc", "import", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 +", "service:Svc", "import", "SyntaxError: invalid syntax (service.py, line 2)"),
        (
            "",
            "service:Svc",
            "import",
            "ImportServiceError: module `service` has no attribute `Svc` (from `service:Svc`)",
        ),
        ("", "other:Svc", "import", "ModuleNotFoundError: No module named 'other'"),
        (
            "raise SystemExit('no\\n  licence')",
            "service:Svc",
            "import",
            "SystemExit: no licence",
        ),
        (
            "@bentoml.service(cmd=['no-such-program'])\nclass Svc: ...\n",
            "service:Svc",
            "command",
            "FileNotFoundError: [Errno 2] No such file or directory: 'no-such-program'",
        ),
        (
            "@bentoml.service\nclass Svc:\n    m = bentoml.models.BentoModel('gone:latest')\n",
            "service:Svc",
            "models",
            "NotFound: model `gone:latest` is not in the store: "
            "no Models with name 'gone' exist in BentoML store {home}/models",
        ),
        (
            "@bentoml.service\nclass Svc:\n    def __init__(self):\n        raise ValueError('weights')\n",
            "service:Svc",
            "init",
            "ValueError: weights",
        ),
        (
            "@bentoml.service\nclass Svc:\n"
            "    @bentoml.on_startup\n    async def warm(self):\n        raise OSError('cold')\n",
            "service:Svc",
            "startup",
            "OSError: cold",
        ),
    ],
)  # fmt: skip
def test_failures_tell_their_stage(
    serve: Serve, home: Path, source: str, target: str, stage: str, message: str
) -> None:
    front = serve(source, target=target)
    frame = front.receive()
    if frame.type == "describe":
        assert stage in ("models", "init", "startup", "command")
        frame = front.receive()
    assert frame.type == "failed"
    assert (frame.header["stage"], frame.header["message"]) == (stage, message.replace("{home}", str(home)))
    assert "Traceback" in frame.header["detail"] or stage == "import"
    assert front.exit_status() == 1


# calls


def test_synchronous_calls_run_off_the_loop_and_one_at_a_time(serve: Serve) -> None:
    front = serve(
        """
    import asyncio, threading, time
    @bentoml.service
    class Svc:
        def __init__(self):
            self.inside = 0
        @bentoml.api
        def first(self) -> bool:
            return self.work()
        @bentoml.api
        def second(self) -> bool:
            return self.work()
        def work(self) -> bool:
            self.inside += 1
            time.sleep(0.05)
            alone = self.inside == 1
            self.inside -= 1
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return alone and threading.current_thread() is not threading.main_thread()
            return False
    """
    )
    front.ready()
    for endpoint in ("first", "second", "first"):
        front.call(endpoint)
    assert [bytes(front.expect("reply").body) for _ in range(3)] == [b"true"] * 3


def test_threads_let_synchronous_calls_run_at_once(serve: Serve) -> None:
    front = serve(
        """
    import threading
    @bentoml.service(threads=3)
    class Svc:
        barrier = threading.Barrier(3)
        @bentoml.api
        def meet(self) -> int:
            return self.barrier.wait(20)
    """
    )
    assert front.ready()["slots"] == 3
    for _ in range(3):
        front.call("meet")
    assert sorted(bytes(front.expect("reply").body) for _ in range(3)) == [b"0", b"1", b"2"]


def test_asynchronous_calls_run_at_once_and_answer_in_any_order(serve: Serve) -> None:
    front = serve(
        """
    import asyncio
    @bentoml.service
    class Svc:
        def __init__(self):
            self.event = asyncio.Event()
        @bentoml.api
        async def wait(self) -> str:
            await self.event.wait()
            return "waited"
        @bentoml.api
        async def go(self) -> str:
            self.event.set()
            return "went"
    """
    )
    assert front.ready()["slots"] == 256
    waiting = front.call("wait")
    going = front.call("go")
    replies = [front.expect("reply") for _ in range(2)]
    assert [(reply.header["id"], bytes(reply.body)) for reply in replies] == [(going, b"went"), (waiting, b"waited")]


def test_errors_are_answered_and_logged_with_their_traceback(serve: Serve) -> None:
    front = serve(
        """
    from pydantic import BaseModel
    class Strict(BaseModel):
        n: int
    @bentoml.service
    class Svc:
        @bentoml.api
        def fail(self, how: str) -> int:
            if how == "inner":
                Strict(n="x")
            if how == "exit":
                raise SystemExit(3)
            if how == "output":
                return "no number"
            raise RuntimeError("secret")
    """
    )
    front.ready()
    hidden = b'{"error":"An unexpected error has occurred, please check the server log."}'
    for how in ("inner", "exit", "output", "other"):
        assert front.ask("fail", {"how": how}) == (500, {"content-type": "application/json"}, hidden)
    texts = [line["message"] for line in front.logs if line["level"] == "error"]
    assert len(texts) == 4
    assert texts[3].startswith("Exception on /fail [POST]\nTraceback (most recent call last):")
    assert texts[3].endswith("RuntimeError: secret")
    assert front.ask("fail", {})[0] == 400
    assert "how\n  Field required" in front.logs[-1]["message"]


def test_an_unknown_endpoint_is_answered(serve: Serve) -> None:
    front = serve(ECHO)
    front.ready()
    assert front.ask("nope")[0] == 404


def test_large_bodies_pass_whole(serve: Serve) -> None:
    front = serve(
        """
    import hashlib
    @bentoml.service
    class Svc:
        @bentoml.api
        def digest(self, data: bytes, /) -> str:
            return hashlib.sha256(data).hexdigest()
        @bentoml.api
        def make(self, n: int) -> bytes:
            return b"ab" * n
    """
    )
    front.ready()
    import hashlib
    import os
    import threading

    body = os.urandom(24 << 20)
    sender = threading.Thread(target=front.call, args=("digest", body))
    sender.start()
    assert bytes(front.expect("reply").body).decode() == hashlib.sha256(body).hexdigest()
    sender.join()
    assert front.ask("make", {"n": 12 << 20})[2] == b"ab" * (12 << 20)
    assert front.ask("make", {"n": 1})[2] == b"ab"


def test_context_background_and_temp_dir(serve: Serve, tmp_path: Path) -> None:
    front = serve(
        f"""
    import pathlib
    log = pathlib.Path({str(tmp_path / "log")!r})
    @bentoml.service
    class Svc:
        @bentoml.api
        def f(self, ctx: bentoml.Context) -> str:
            folder = pathlib.Path(ctx.temp_dir)
            (folder / "x").write_text("x")
            ctx.response.status_code = 202
            ctx.response.background.add_task(self.later, folder)
            return str(folder)
        def later(self, folder):
            log.write_text(f"{{folder.exists()}}\\n")
        @bentoml.api
        async def where(self) -> str:
            return f"{{bentoml.server_context.worker_index}} {{bentoml.server_context.service_name}} " + str(
                bentoml.get_current_service() is self
            )
    """,
        worker_id=7,
    )
    front.ready()
    status, _, folder = front.ask("f")
    assert status == 202
    wait_for(tmp_path / "log", "True")
    assert front.ask("where")[2] == b"7 Svc True"
    front.send({"type": "drain"})
    assert front.exit_status() == 0
    assert not Path(folder.decode()).exists()


def test_http_responses_of_other_libraries_are_sent_as_they_are(serve: Serve) -> None:
    front = serve(
        """
    class Response:
        status_code = 418
        raw_headers = [(b"content-type", b"text/x"), (b"content-length", b"4"), (b"x-a", b"1")]
        body = b"body"
    class Streaming:
        status_code = 206
        raw_headers = [(b"content-type", b"text/y")]
        @property
        async def _items(self):
            yield "a"
            yield b"b"
        def __init__(self):
            self.body_iterator = self._items
    @bentoml.service
    class Svc:
        @bentoml.api
        def plain(self) -> str:
            return Response()
        @bentoml.api
        async def streaming(self) -> str:
            return Streaming()
    """
    )
    front.ready()
    assert front.ask("plain") == (418, {"content-type": "text/x", "x-a": "1"}, b"body")
    front.call("streaming")
    head = front.expect("stream").header
    assert (head["status"], head["headers"]) == (206, [["content-type", "text/y"]])
    assert [bytes(front.expect("chunk").body) for _ in range(2)] == [b"a", b"b"]
    assert front.expect("end").header["error"] is None


# cancelling


def test_cancel(serve: Serve, tmp_path: Path) -> None:
    log = tmp_path / "log"
    front = serve(hooks(log))
    front.ready()
    running = front.call("slow", {"seconds": 0.3})
    queued = front.call("slow", {"seconds": 0})
    waiting = front.call("wait", {"seconds": 3600})
    wait_for(log, "call begins")
    wait_for(log, "wait begins")
    for call_id in (running, queued, waiting, 999):
        front.send({"type": "cancel", "id": call_id})
    replies = {}
    for _ in range(3):
        reply = front.expect("reply")
        replies[reply.header["id"]] = (reply.header["status"], bytes(reply.body))
    assert replies == {running: (200, b"done"), queued: (499, b""), waiting: (499, b"")}
    assert log.read_text().count("call begins") == 1
    assert "wait ends" in log.read_text()
    assert front.ask("slow", {"seconds": 0})[2] == b"done"


# probes, metrics, logs


def test_a_call_that_is_cancelled_before_it_begins_is_answered(serve: Serve) -> None:
    front = serve(
        """
    @bentoml.service
    class Svc:
        @bentoml.api
        async def text(self, text: str) -> str:
            return text
    """
    )
    front.ready()
    header = {"type": "call", "id": 4711, "endpoint": "text", "headers": []}
    both = [*encode_frame(header, b'{"text": "x"}'), *encode_frame({"type": "cancel", "id": 4711})]
    front.socket.sendall(b"".join(both))
    reply = front.expect("reply")
    assert (reply.header["id"], reply.header["status"]) == (4711, 499)
    front.send({"type": "drain"})
    assert front.exit_status() == 0


def test_errors_that_cannot_be_written_are_answered(serve: Serve) -> None:
    front = serve(
        """
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError("no text")
    @bentoml.service
    class Svc:
        @bentoml.api
        def silent(self) -> str:
            raise Silent
        @bentoml.api
        def surrogate(self) -> str:
            raise bentoml.exceptions.BadInput("not \\ud800")
    """
    )
    front.ready()
    assert front.ask("silent")[0] == 500
    assert front.ask("surrogate")[0] == 400
    assert front.ask("silent")[0] == 500


def test_probes(serve: Serve) -> None:
    front = serve(
        """
    import time
    @bentoml.service
    class Svc:
        calls = 0
        def __is_ready__(self):
            self.calls += 1
            if self.calls == 3:
                raise ValueError("broken")
            return self.calls != 2
        async def __is_alive__(self):
            return 0
        @bentoml.api
        def slow(self) -> None:
            time.sleep(0.5)
    """
    )
    front.ready()
    front.call("slow")

    def probe(what: str) -> tuple[bool, Any]:
        front.send({"type": "probe", "id": 5, "what": what})
        answer = front.expect("probed").header
        assert answer["id"] == 5
        return answer["ok"], answer["message"]

    # answered while a synchronous call runs
    assert probe("ready") == (True, None)
    assert probe("ready") == (False, "Service is not ready because .__is_ready__() returns False.")
    assert probe("ready") == (False, "__is_ready__ raised ValueError: broken")
    assert probe("alive") == (False, "Service is dead because .__is_alive__() returns False.")
    front.expect("reply")


def test_probes_of_a_service_without_hooks(serve: Serve) -> None:
    front = serve(ECHO)
    front.ready()
    for what in ("ready", "alive"):
        front.send({"type": "probe", "id": 1, "what": what})
        assert front.expect("probed").header["ok"] is True


def test_metrics_of_the_user_alone(serve: Serve) -> None:
    front = serve(
        """
    from prometheus_client import Counter
    predictions = Counter("predictions", "Predictions")
    @bentoml.service
    class Svc:
        def __metrics__(self, text: str) -> str:
            return text + "# end of user metrics\\n"
        @bentoml.api
        def f(self) -> None:
            predictions.inc()
    """
    )
    assert front.ready()["user_metrics"] is True
    front.ask("f")
    front.send({"type": "metrics", "id": 3})
    measured = front.expect("measured")
    text = bytes(measured.body).decode()
    assert measured.header == {"type": "measured", "id": 3}
    assert "predictions_total 1.0\n" in text
    assert text.endswith("# end of user metrics\n")
    assert "process_" not in text
    assert "python_" not in text


def test_metrics_of_a_service_without_any(serve: Serve) -> None:
    front = serve(ECHO)
    assert front.ready()["user_metrics"] is False
    front.send({"type": "metrics", "id": 3})
    assert bytes(front.expect("measured").body) == b""


def test_log_lines_of_user_code(serve: Serve) -> None:
    front = serve(
        """
    import logging
    @bentoml.service
    class Svc:
        @bentoml.api
        def f(self) -> None:
            print("printed")
            logging.getLogger("bentoml").debug("hidden")
            logging.getLogger("bentoml").warning("careful: %d", 1)
    """
    )
    front.ready()
    front.ask("f")
    assert {"type": "log", "level": "warning", "message": "careful: 1"} in front.logs
    assert not any("hidden" in line["message"] for line in front.logs)


def test_objects_made_at_start_are_frozen_once_the_worker_is_idle(serve: Serve) -> None:
    front = serve(
        """
    import gc
    @bentoml.service
    class Svc:
        @bentoml.api
        def frozen(self) -> int:
            return gc.get_freeze_count()
        @bentoml.api
        def thresholds(self) -> list[int]:
            return list(gc.get_threshold())
    """
    )
    front.ready()
    assert json.loads(front.ask("thresholds")[2]) == list(gc.get_threshold())
    deadline = time.monotonic() + 30
    while int(front.ask("frozen")[2]) == 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert int(front.ask("frozen")[2]) > len(gc.get_objects()) // 10


def test_a_collector_that_user_code_has_set_is_left_alone(serve: Serve) -> None:
    front = serve(
        """
    import gc
    gc.set_threshold(5000, 7, 7)
    @bentoml.service
    class Svc:
        @bentoml.api
        def thresholds(self) -> list[int]:
            return list(gc.get_threshold())
    """
    )
    front.ready()
    assert json.loads(front.ask("thresholds")[2]) == [5000, 7, 7]


def test_a_bento_of_the_runner_model(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "bento" / "src").mkdir(parents=True)
    (tmp_path / "bento" / "src" / "service.py").write_text("import bentoml\nsvc = bentoml.Service('old')\n")
    (tmp_path / "bento" / "bento.yaml").write_text(
        "service: service:svc\nname: old\nversion: v1\nrunners:\n- name: r\napis:\n- name: f\n"
    )
    front = serve("", arguments=("--bento", str(tmp_path / "bento")))
    described = front.ready()
    assert (described["name"], described["openapi"]["info"]["version"]) == ("old", "v1")


def test_statuses_that_cannot_be_sent_become_500(serve: Serve) -> None:
    front = serve(
        """
    from bentoml.exceptions import BentoMLException
    @bentoml.service
    class Svc:
        @bentoml.api
        def f(self, status: int, ctx: bentoml.Context) -> str:
            ctx.response.status_code = status
            return "x"
        @bentoml.api
        def g(self, status: int) -> str:
            raise BentoMLException("x", error_code=status)
    """
    )
    front.ready()
    assert [front.ask("f", {"status": status})[0] for status in (200, 404, 0, 99999)] == [200, 404, 500, 500]
    assert [front.ask("g", {"status": status})[0] for status in (409, 0, 99999)] == [409, 500, 500]


def test_a_frame_without_its_members_stops_the_worker(serve: Serve) -> None:
    front = serve(ECHO)
    front.ready()
    front.send({"type": "cancel"})
    assert front.exit_status() == 0
    assert "frame `cancel` has no member 'id'" in front.stderr()


def test_the_import_string_names_the_target_wherever_the_class_is_from(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "impl.py").write_text("import bentoml\n" + ECHO)
    for target in ("service.py:Svc", "service", "service:Svc"):
        front = serve("from impl import Svc", target=target)
        assert front.ready()["import_string"] == "service:Svc"
