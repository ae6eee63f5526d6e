"""Serving: requests a second, their latency, cold start and memory, against upstream, mosec and litserve."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from measure import EKIBEN, ROOT, Row, clean_environment, compare, median, output_of, page, seconds

SDK = ROOT / "target/test-venv/bin/python"
SERVERS = ROOT / "target/servers/bin"
ROUNDS = 3
CONNECTIONS = (1, 8, 32, 128)
WARM_UP, SLICE = "2s", "4s"
STARTS = 5
READY_WITHIN = 60
PATTERN = re.compile(r"Requests/sec:\s+([\d.]+)")
LATENCY = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)", re.MULTILINE)
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}

TRAIN = """
import sys, joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
data = load_iris()
joblib.dump(LogisticRegression(max_iter=500).fit(data.data, data.target), sys.argv[1])
"""

# The same file for ekiben and for upstream.
SERVICE = """
import bentoml, joblib
import numpy as np

@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Echo:
    @bentoml.api
    async def echo(self, data: dict) -> dict:
        return data

@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Iris:
    def __init__(self) -> None:
        self.model = joblib.load("model.pkl")

    @bentoml.api
    def predict(self, data: np.ndarray) -> np.ndarray:
        return self.model.predict(data)

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict_b(self, data: np.ndarray) -> np.ndarray:
        return self.model.predict(data)
"""

MOSEC = """
import sys, joblib
import numpy as np
from mosec import Server, Worker

class Echo(Worker):
    def forward(self, data):
        return data["data"]

class Iris(Worker):
    def __init__(self):
        self.model = joblib.load("model.pkl")

    def forward(self, data):
        return self.model.predict(np.array(data["data"])).tolist()

class IrisBatch(Iris):
    def forward(self, data):
        rows = np.concatenate([np.array(one["data"]) for one in data])
        return [[int(one)] for one in self.model.predict(rows)]

if __name__ == "__main__":
    server, kind = Server(), sys.argv.pop(1)
    batch = {"max_batch_size": 64, "max_wait_time": 10} if kind == "IrisBatch" else {}
    server.append_worker({"Echo": Echo, "Iris": Iris, "IrisBatch": IrisBatch}[kind], num=1, **batch)
    server.run()
"""

LITSERVE = """
import sys, joblib
import litserve as ls
import numpy as np

class Echo(ls.LitAPI):
    def setup(self, device): ...
    def decode_request(self, request): return request["data"]
    def predict(self, data): return data
    def encode_response(self, output): return output

class Iris(Echo):
    def setup(self, device): self.model = joblib.load("model.pkl")
    def decode_request(self, request): return np.array(request["data"])
    def predict(self, data): return self.model.predict(data)
    def encode_response(self, output): return {"output": output.tolist()}

class IrisBatch(Iris):
    def batch(self, inputs): return np.concatenate(inputs)
    def predict(self, data): return self.model.predict(data)
    def unbatch(self, output): return list(output)
    def encode_response(self, output): return {"output": int(output)}

if __name__ == "__main__":
    kind, port = sys.argv[1], int(sys.argv[2])
    batch = {"max_batch_size": 64, "batch_timeout": 0.01} if kind == "IrisBatch" else {}
    work = {"Echo": Echo, "Iris": Iris, "IrisBatch": IrisBatch}[kind](**batch)
    server = ls.LitServer(work, accelerator="cpu")
    server.run(port=port, log_level="error", generate_client_file=False)
"""

ECHO_BODY = '{"data": {"id": 1}}'
IRIS_BODY = '{"data": [[5.9, 3.0, 5.1, 1.8]]}'


@dataclass(frozen=True)
class Rival:
    """A server of one of the three kinds of work."""

    name: str
    command: Callable[[int], list[str | Path]]
    path: str


@dataclass(frozen=True)
class Load:
    """What a slice of load gave."""

    rate: float
    p50: float
    p99: float


def rivals(kind: str) -> list[Rival]:
    """Return the servers of one kind of work; the first is ekiben."""
    service, path = {
        "Echo": ("Echo", "/echo"),
        "Iris": ("Iris", "/predict"),
        "IrisBatch": ("Iris", "/predict_b"),
    }[kind]
    python = SERVERS / "python"
    serve = EKIBEN.with_name("ekiben-serve")
    return [
        Rival(
            "ekiben",
            lambda port: [serve, f"service:{service}", "--python", SDK, "--port", str(port), "--quiet"],
            path,
        ),
        Rival(
            "upstream",
            lambda port: [python, "-m", "bentoml", "serve", f"service:{service}", "-p", str(port), "-q"],
            path,
        ),
        Rival("mosec", lambda port: [python, "mosec_server.py", kind, "--port", str(port)], "/inference"),
        Rival("litserve", lambda port: [python, "litserve_server.py", kind, str(port)], "/predict"),
    ]


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(port: int, path: str, body: str) -> bool:
    """Tell whether a request is answered well."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def running(
    rival: Rival, body: str, place: Path, environment: dict[str, str]
) -> Iterator[tuple[int, float, int]]:
    """Run a server; give its port, the seconds until its first good answer, and its process number."""
    port = free_port()
    started = time.monotonic()
    command = [str(argument) for argument in rival.command(port)]
    log = (place / f"{rival.name}.log").open("w")
    process = subprocess.Popen(
        command, cwd=place, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        while not answers(port, rival.path, body):
            if time.monotonic() - started > READY_WITHIN or process.poll() is not None:
                raise SystemExit(f"{rival.name} does not start:\n{(place / f'{rival.name}.log').read_text()}")
            time.sleep(0.01)
        yield port, time.monotonic() - started, process.pid
    finally:
        family = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        for pid in [process.pid, *family]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and they."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def resident(pid: int) -> int:
    """Return the memory of a process and all it has started, each shared page counted in parts."""
    total = 0
    for member in [pid, *descendants(pid)]:
        with contextlib.suppress(OSError):
            line = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{member}/smaps_rollup").read_text(), re.MULTILINE)
            total += int(line.group(1)) * 1024 if line else 0
    return total


def load(
    port: int, path: str, body: Path, connections: int, duration: str, environment: dict[str, str]
) -> Load:
    """Send as many requests as a server takes."""
    url = f"http://127.0.0.1:{port}{path}"
    text = output_of(
        ["wrk", "-t1", f"-c{connections}", f"-d{duration}", "--latency", "--timeout", "30s", "-s", body, url],
        environment,
    )
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"{url} failed under load:\n{text}")
    latency = {part: float(number) * UNITS[unit] for part, number, unit in LATENCY.findall(text)}
    return Load(float(PATTERN.search(text).group(1)), latency["50"], latency["99"])  # type: ignore[union-attr]


def measure_kind(
    kind: str, body: str, place: Path, environment: dict[str, str]
) -> dict[str, dict[int, Load]]:
    """Measure all servers of one kind in turn; of each number of connections the median of the rounds."""
    script = place / f"{kind}.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = [==[{body}]==]\nwrk.headers['content-type'] = 'application/json'\n"
    )
    found: dict[str, dict[int, list[Load]]] = {}
    for _ in range(ROUNDS):
        for rival in rivals(kind):
            with running(rival, body, place, environment) as (port, _, _):
                load(port, rival.path, script, 32, WARM_UP, environment)
                for connections in CONNECTIONS:
                    once = load(port, rival.path, script, connections, SLICE, environment)
                    found.setdefault(rival.name, {}).setdefault(connections, []).append(once)
    return {
        name: {
            connections: sorted(loads, key=lambda one: one.rate)[len(loads) // 2]
            for connections, loads in by.items()
        }
        for name, by in found.items()
    }


def rows_of(kind: str, found: dict[str, dict[int, Load]], targets: dict[tuple[str, int], float]) -> list[Row]:
    """Return a row for each number of connections and peer: ekiben's rate as a multiple of the peer's."""
    rows = []
    for connections in CONNECTIONS:
        ours = found["ekiben"][connections]
        for name in list(found)[1:]:
            theirs, wanted = found[name][connections], targets.get((name, connections))
            ratio = ours.rate / theirs.rate
            rows.append(
                Row(
                    f"{kind}, {connections} connections, against {name}",
                    f"{ours.rate:,.0f}/s (p50 {seconds_of(ours.p50)}, p99 {seconds_of(ours.p99)})",
                    f"{theirs.rate:,.0f}/s (p50 {seconds_of(theirs.p50)}, p99 {seconds_of(theirs.p99)})",
                    f"{ratio:.1f}",
                    "" if wanted is None else f"≥ {wanted:g}",
                    None if wanted is None else ratio >= wanted,
                )
            )
    return rows


def seconds_of(value: float) -> str:
    """Format a latency."""
    return f"{value * 1000:.2f} ms"


def measure_starts(place: Path, environment: dict[str, str]) -> list[Row]:
    """Measure cold starts, and memory a second later."""
    starts: dict[str, list[float]] = {}
    memory: dict[str, list[float]] = {}
    for _ in range(STARTS):
        for rival in rivals("Iris"):
            with running(rival, IRIS_BODY, place, environment) as (_, took, pid):
                time.sleep(1)
                starts.setdefault(rival.name, []).append(took)
                memory.setdefault(rival.name, []).append(resident(pid))
    rows = []
    for name in ("upstream", "mosec", "litserve"):
        ours, theirs = median(starts["ekiben"]), median(starts[name])
        is_target = name == "mosec"
        rows.append(
            compare(
                f"iris, start to first answer, against {name}",
                ours,
                theirs,
                seconds,
                "< 1" if is_target else "",
                ours < theirs if is_target else None,  # type: ignore[arg-type]
            )
        )
    for name in ("upstream", "mosec", "litserve"):
        ours, theirs = median(memory["ekiben"]), median(memory[name])
        is_target = name == "mosec"
        rows.append(
            compare(
                f"iris, memory of all processes, against {name}",
                ours,
                theirs,
                lambda value: f"{value / 1e6:.0f} MB",
                "≤ 0.65" if is_target else "",
                ours <= 0.65 * theirs if is_target else None,  # type: ignore[arg-type]
            )
        )
    return rows


def measure() -> str:
    """Measure everything and return the page."""
    place = ROOT / "target/bench/serving"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    environment = clean_environment(HOME=place, BENTOML_DO_NOT_TRACK="True", BENTOML_HOME=place / "store")
    (place / "service.py").write_text(SERVICE)
    (place / "mosec_server.py").write_text(MOSEC)
    (place / "litserve_server.py").write_text(LITSERVE)
    output_of([SERVERS / "python", "-c", TRAIN, place / "model.pkl"], environment)
    rows = rows_of(
        "echo", measure_kind("Echo", ECHO_BODY, place, environment), {("mosec", 32): 5, ("upstream", 32): 40}
    )
    rows += rows_of("iris", measure_kind("Iris", IRIS_BODY, place, environment), {})
    batched = measure_kind("IrisBatch", IRIS_BODY, place, environment)
    rows += rows_of("iris, batches", batched, {("mosec", 32): 10, ("mosec", 128): 1.3})
    rows += measure_starts(place, environment)
    note = (
        "One worker each, the same work and the same client (`wrk`), access logs and traces off, in turn; "
        f"medians of {ROUNDS} rounds of {SLICE}, of {STARTS} starts. Of rates the ratio is how many times as "
        "many requests ekiben answers. Client and server share the cores. Batches: at most 64 rows; mosec "
        "and litserve wait 10 ms for more."
    )
    return f"{page('Serving', rows)}\n\n{note}"
