"""2 GiB of safetensors: loaded by the SDK and by the package; a cold start with and without read-ahead."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from measure import EKIBEN, ROOT, Row, clean_environment, compare, median, output_of, page, run, seconds

PYTHON = ROOT / "target/test-venv/bin/python"
SERVE = EKIBEN.with_name("ekiben-serve")
SHARDS = 4
PER_SHARD = 16
SIDE = 4096
SIZE = SHARDS * PER_SHARD * SIDE * SIDE * 2
ROUNDS = 5
READY_WITHIN = 300
DROP_CACHES = Path("/proc/sys/vm/drop_caches")

# Writes the checkpoint; random bytes, so that no storage makes them smaller.
MAKE = f"""
import json, os, sys
import numpy
from safetensors.numpy import save_file

weight_map = {{}}
for shard in range({SHARDS}):
    name = f"model-{{shard + 1:05}}-of-{SHARDS:05}.safetensors"
    layers = range(shard * {PER_SHARD}, (shard + 1) * {PER_SHARD})
    tensors = {{
        f"layers.{{layer}}.weight": numpy.frombuffer(os.urandom(2 * {SIDE}**2), "f2").reshape({SIDE}, -1)
        for layer in layers
    }}
    save_file(tensors, os.path.join(sys.argv[1], name))
    weight_map.update(dict.fromkeys(tensors, name))
with open(os.path.join(sys.argv[1], "model.safetensors.index.json"), "w") as file:
    json.dump({{"metadata": {{}}, "weight_map": weight_map}}, file)
"""

# Each prints the seconds from the call to the last page: a mapped file is not loaded before it was touched.
TOUCH = """
touched = sum(int(array.view("u1").reshape(-1)[::4096].max()) for array in tensors.values())
print(time.monotonic() - begun)
"""
OURS = f"""
import sys, time
import numpy
from bentoml.safetensors import load_file

begun = time.monotonic()
tensors = load_file(sys.argv[1])
{TOUCH}
"""
THEIRS = f"""
import glob, os, sys, time
import numpy
from safetensors.numpy import load_file

begun = time.monotonic()
tensors = {{}}
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.safetensors"))):
    tensors.update(load_file(path))
{TOUCH}
"""
# What the disk gives when nothing but reading is done: four threads, past the page cache.
DISK = """
import glob, mmap, os, sys, threading, time

PART = 8 << 20
parts, lock = [], threading.Lock()
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.safetensors"))):
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    parts += [(descriptor, offset) for offset in range(0, os.fstat(descriptor).st_size, PART)]

def work():
    buffer = mmap.mmap(-1, PART)
    while True:
        with lock:
            if not parts:
                return
            descriptor, offset = parts.pop(0)
        os.preadv(descriptor, [buffer], offset)

begun = time.monotonic()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(time.monotonic() - begun)
"""

SERVICE = """import os

import bentoml
import numpy
import sklearn.ensemble
import sklearn.linear_model
from bentoml.models import BentoModel


def load(directory: str) -> dict:
    if os.environ["LOADER"] == "bentoml":
        from bentoml.safetensors import load_file

        return load_file(directory)
    from safetensors.numpy import load_file

    names = sorted(name for name in os.listdir(directory) if name.endswith(".safetensors"))
    tensors = {}
    for name in names:
        tensors.update(load_file(os.path.join(directory, name)))
    return tensors


@bentoml.service
class Bulky:
    weights = BentoModel("bulky_weights:v1")

    def __init__(self) -> None:
        self.tensors = load(self.weights.path)
        self.touched = sum(int(array.view("u1").reshape(-1)[::4096].max()) for array in self.tensors.values())

    @bentoml.api
    def tensor_count(self) -> int:
        return len(self.tensors)
"""


def drop_caches() -> None:
    """Make everything come from the disk again."""
    os.sync()
    DROP_CACHES.write_text("3")


def loaded(script: str, model: Path, environment: dict[str, str], *, is_cold: bool) -> float:
    """Run a script in a new interpreter and return the time that it prints."""
    if is_cold:
        drop_caches()
    return float(output_of([PYTHON, "-c", script, model], environment))


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def cold_start(bento: Path, environment: dict[str, str], *, loader: str, is_ahead: bool) -> float:
    """Start a server with nothing in the page cache and return the time until it is ready."""
    port = free_port()
    command = [SERVE, "serve", bento, "--python", PYTHON, "--host", "127.0.0.1", "--port", str(port)]
    switches = {"LOADER": loader, "EKIBEN_READ_AHEAD": "1" if is_ahead else "0"}
    drop_caches()
    begun = time.monotonic()
    server = subprocess.Popen(
        [str(word) for word in command],
        env={**environment, **switches},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not is_ready(port):
            if server.poll() is not None or time.monotonic() - begun > READY_WITHIN:
                server.kill()
                raise SystemExit(f"the server is not ready:\n{server.stderr.read()}")
            time.sleep(0.02)
        return time.monotonic() - begun
    finally:
        server.terminate()
        server.wait()


def is_ready(port: int) -> bool:
    """Ask the server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def prepare(place: Path, environment: dict[str, str]) -> tuple[Path, Path]:
    """Store the checkpoint as a model, build a bento with it, and return their directories."""
    weights, project = place / "weights", place / "project"
    for directory in (weights, project):
        directory.mkdir(parents=True)
    run([PYTHON, "-c", MAKE, weights], environment)
    (project / "service.py").write_text(SERVICE)
    (project / "bentofile.yaml").write_text('service: "service:Bulky"\ndocker:\n  python_version: "3.11"\n')
    run([EKIBEN, "models", "create", "bulky_weights:v1", "--from", weights], environment)
    shutil.rmtree(weights)
    run([EKIBEN, "build", project, "--version", "v1"], environment)
    return place / "bentoml/models/bulky_weights/v1", place / "bentoml/bentos/bulky/v1"


def faster(what: str, ours: list[float], theirs: list[float], least: float) -> Row:
    """Make a row of how many times faster ours is, which is to be at least `least`."""
    mine, peer = median(ours), median(theirs)
    return Row(
        what,
        seconds(mine),
        seconds(peer),
        f"{mine / peer:.2f}",
        f"≤ {1 / least:.2f} ({least:g} times as fast)",
        peer >= least * mine,
    )


def measure() -> str:
    """Measure, and return a part of the page."""
    if not os.access(DROP_CACHES, os.W_OK):
        raise SystemExit("the bench `weights` must be able to empty the page cache: run it as root")
    place = ROOT / "target/bench/weights"
    shutil.rmtree(place, ignore_errors=True)
    environment = clean_environment(
        HOME=place, BENTOML_HOME=place / "bentoml", EKIBEN_CACHE_DIR=ROOT / "target/bench/cache"
    )
    model, bento = prepare(place, environment)

    disk: list[float] = []
    loads: dict[tuple[str, bool], list[float]] = {}
    starts: dict[tuple[str, bool], list[float]] = {}
    # In turn, so that a slow moment of the machine meets all of them.
    for _ in range(ROUNDS):
        disk.append(loaded(DISK, model, environment, is_cold=True))
        for is_cold in (True, False):
            for name, script in (("theirs", THEIRS), ("ours", OURS)):
                took = loaded(script, model, environment, is_cold=is_cold)
                loads.setdefault((name, is_cold), []).append(took)
        for loader in ("bentoml", "safetensors"):
            for is_ahead in (False, True):
                took = cold_start(bento, environment, loader=loader, is_ahead=is_ahead)
                starts.setdefault((loader, is_ahead), []).append(took)
    shutil.rmtree(place)
    raw = {"disk": disk, "loads": {str(key): took for key, took in loads.items()}}
    raw["starts"] = {str(key): took for key, took in starts.items()}
    # Every round, for those who want to see how much the machine wavered.
    print(json.dumps(raw), file=sys.stderr)

    rows = [
        faster("load, nothing in the page cache", loads["ours", True], loads["theirs", True], 1.5),
        faster("load, all in the page cache", loads["ours", False], loads["theirs", False], 10),
    ]
    for loader in ("bentoml", "safetensors"):
        with_it, without = median(starts[loader, True]), median(starts[loader, False])
        what = f"cold start to ready, loading with `{loader}`"
        rows.append(compare(what, with_it, without, seconds, "≤ 0.6", with_it <= 0.6 * without))
    limit = median(disk)
    text = (
        f"{SHARDS * PER_SHARD} tensors of {SIDE} by {SIDE} float16 in {SHARDS} files. Loading is "
        "`bentoml.safetensors.load_file` against `load_file` of the package `safetensors`, until every page "
        "was touched. The service imports NumPy and scikit-learn, then loads; its peer is itself with "
        f"`EKIBEN_READ_AHEAD=0`. Medians of {ROUNDS}, in turn. The disk alone gives these bytes in "
        f"{seconds(limit)} ({SIZE / limit / 1e9:.1f} GB/s; four threads, past the page cache)."
    )
    return page("2 GiB of safetensors", rows) + f"\n\n{text}"
