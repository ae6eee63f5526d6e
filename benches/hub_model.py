"""A model of a hub: to files and digests of layers, against a plain download and the hub's own client."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import (
    EKIBEN,
    PEERS,
    ROOT,
    Cost,
    Row,
    clean_environment,
    compare,
    median,
    megabytes,
    page,
    run,
    seconds,
)

ROUNDS = 5
FILES, SIZE = 8, 256 << 20
CONNECTIONS = 8
PIECE = 8 << 20
MODEL = "bench/weights"
MEMORY_LIMIT = 64 << 20
SERVER = EKIBEN.parent / "examples/hub"

SNAPSHOT = """
import sys
from huggingface_hub import snapshot_download
snapshot_download(sys.argv[1])
"""


def write_weights(directory: Path) -> list[str]:
    """Write files as large checkpoints have them, which cannot be compressed; return their names."""
    directory.mkdir(parents=True)
    names = [f"model-{number:05}-of-{FILES:05}.safetensors" for number in range(1, FILES + 1)]
    for name in names:
        with open(directory / name, "wb") as file:
            for _ in range(SIZE // PIECE):
                file.write(os.urandom(PIECE))
    return names


@contextmanager
def serving(directory: Path) -> Iterator[dict[str, str]]:
    """Serve a directory as a repository of the tests' hub; give its endpoint and the commit."""
    command = [str(SERVER), f"{MODEL}={directory}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        ready = json.loads(server.stdout.readline())
        yield {"endpoint": ready["endpoint"], "commit": ready["commits"][MODEL]}
        # The server ends with its input.
        server.stdin.close()


def download_plainly(hub: dict[str, str], names: list[str], place: Path, environment: dict[str, str]) -> Cost:
    """Download the files and nothing more, all at the same time."""
    urls = [f"{hub['endpoint']}/{MODEL}/resolve/{hub['commit']}/{name}" for name in names]
    options = [
        "--parallel",
        "--parallel-max",
        str(CONNECTIONS),
        "--location",
        "--fail",
        "--no-progress-meter",
    ]
    return run(["curl", *options, "--output-dir", place, "--remote-name-all", *urls], environment)


def hash_files(files: list[Path], environment: dict[str, str]) -> Cost:
    """Compute the digests of files on one core."""
    return run(["openssl", "dgst", "-sha256", *files], environment)


def measure() -> str:
    """Measure, and return a part of the page."""
    place = ROOT / "target/bench/hub"
    shutil.rmtree(place, ignore_errors=True)
    names = write_weights(place / "weights")
    run_place = place / "run"
    with serving(place / "weights") as hub:
        environment = clean_environment(
            HOME=run_place,
            TMPDIR=run_place,
            BENTOML_HOME=run_place / "bentoml",
            EKIBEN_CACHE_DIR=run_place / "cache",
            HF_ENDPOINT=hub["endpoint"],
            HF_HOME=run_place / "huggingface",
            HF_HUB_DISABLE_PROGRESS_BARS="1",
            HF_HUB_DISABLE_TELEMETRY="1",
        )
        sides = {
            "curl": lambda: download_plainly(hub, names, run_place, environment),
            "ekiben": lambda: run([EKIBEN, "models", "pull", f"hf://{MODEL}@{hub['commit']}"], environment),
            "client": lambda: run([PEERS / "python", "-c", SNAPSHOT, MODEL], environment),
        }
        costs: dict[str, list[Cost]] = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, side in sides.items():
                run_place.mkdir()
                # What was written before is not to be paid for by what is measured next.
                os.sync()
                costs[name].append(side())
                shutil.rmtree(run_place)
        digest = [
            hash_files([place / "weights" / name for name in names], environment) for _ in range(ROUNDS)
        ]
    shutil.rmtree(place)
    return page("A model of 2 GiB from a hub", rows(costs)) + f"\n\n{explanation(costs, digest)}"


def middle(costs: list[Cost], kind: str) -> float:
    """Return the median of one kind of cost."""
    return median([getattr(cost, kind) for cost in costs])


def rows(costs: dict[str, list[Cost]]) -> list[Row]:
    """Put ekiben beside the others."""
    (wall, plain, client), (cpu, plain_cpu, client_cpu) = (
        [middle(costs[name], kind) for name in ("ekiben", "curl", "client")] for kind in ("wall", "cpu")
    )
    memory = max(cost.peak_memory for cost in costs["ekiben"])
    limit = f"≤ {megabytes(MEMORY_LIMIT)} (64 MiB)"
    return [
        compare("wall time, against `curl --parallel`", wall, plain, seconds, "≤ 1.1", wall <= 1.1 * plain),
        compare("CPU, against `curl --parallel`", cpu, plain_cpu, seconds, "", None),
        compare("wall time, against `snapshot_download`", wall, client, seconds, "", None),
        compare("CPU, against `snapshot_download`", cpu, client_cpu, seconds, "", None),
        Row("peak memory", megabytes(memory), "", "", limit, memory <= MEMORY_LIMIT),
    ]


def explanation(costs: dict[str, list[Cost]], digest: list[Cost]) -> str:
    """Say what was compared, and what the machine itself allows."""
    return (
        f"{FILES} files from the tests' hub on the same machine: `ekiben models pull`, which verifies them "
        "and computes the digests of their layers, against `curl --parallel` and `huggingface_hub` 2.4, "
        f"which do neither. In turn, into empty caches; medians of {ROUNDS}, highest of memory. The server's "
        "CPU comes on top of each side. For comparison: `openssl dgst -sha256` of the files, once, takes "
        f"{seconds(middle(digest, 'cpu'))} of CPU."
    )
