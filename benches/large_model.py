"""A model of 2 GiB that no compressor makes smaller: what it costs to know its digest, and to send it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from measure import (
    EKIBEN,
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

SIZE = 2 << 30
CHUNK = 8 << 20
ROUNDS = 5
TAG = "bulky:v1"

SERVICE = """import bentoml


@bentoml.service
class Bulky:
    weights = bentoml.models.BentoModel("bulky_weights:v1")

    @bentoml.api
    def size(self) -> int:
        return 0
"""


def prepare(place: Path, environment: dict[str, str]) -> Path:
    """Store the model and build a bento with it; return the model's file."""
    weights, project = place / "weights", place / "project"
    for directory in (weights, project):
        directory.mkdir(parents=True)
    with open(weights / "weights.bin", "wb") as file:
        for _ in range(SIZE // CHUNK):
            file.write(os.urandom(CHUNK))
    (project / "service.py").write_text(SERVICE)
    (project / "bentofile.yaml").write_text('service: "service:Bulky"\ndocker:\n  python_version: "3.11"\n')
    run([EKIBEN, "models", "create", "bulky_weights:v1", "--from", weights], environment)
    shutil.rmtree(weights)
    run([EKIBEN, "build", project, "--version", "v1"], environment)
    return place / "bentoml/models/bulky_weights/v1/weights.bin"


def measure() -> str:
    """Measure, and return a part of the page."""
    place = ROOT / "target/bench/large-model"
    shutil.rmtree(place, ignore_errors=True)
    cache = ROOT / "target/bench/cache"
    environment = clean_environment(HOME=place, BENTOML_HOME=place / "bentoml", EKIBEN_CACHE_DIR=cache)
    model = prepare(place, environment)
    containerize = [EKIBEN, "containerize", TAG, "--to", f"oci:{place / 'layout'}"]
    run(containerize, environment)

    ekiben: list[Cost] = []
    openssl: list[Cost] = []
    unchanged: list[Cost] = []
    # In turn, so that a slow moment of the machine meets all of them.
    for _ in range(ROUNDS):
        openssl.append(run(["openssl", "dgst", "-sha256", model], environment))
        # A new time of change makes the model one that ekiben does not know; the destination has its bytes.
        os.utime(model)
        ekiben.append(run(containerize, environment))
        unchanged.append(run(containerize, environment))
    shutil.rmtree(place)

    cpu, cpu_peer = median([cost.cpu for cost in ekiben]), median([cost.cpu for cost in openssl])
    wall, wall_peer = median([cost.wall for cost in ekiben]), median([cost.wall for cost in openssl])
    memory = max(cost.peak_memory for cost in ekiben)
    written = max(cost.written for cost in ekiben)
    again = median([cost.wall for cost in unchanged])
    rows = [
        compare("CPU to the digest", cpu, cpu_peer, seconds, "≤ 1.15", cpu <= 1.15 * cpu_peer),
        Row(
            "wall time to the digest", seconds(wall), seconds(wall_peer), f"{wall / wall_peer:.2f}", "", None
        ),
        Row(
            "written to disk, part of the model",
            megabytes(written),
            "",
            f"{written / SIZE:.4f}",
            "< 0.01",
            written < SIZE / 100,
        ),
        Row("peak memory", megabytes(memory), "", "", "< 67.1 MB (64 MiB)", memory < 64 << 20),
        Row("unchanged run", seconds(again), "", "", "< 300 ms", again < 0.3),
    ]
    text = (
        "The whole of `ekiben containerize` to a layout that has the blob already, with a model new to "
        "the cache, against `openssl dgst -sha256` of the same file; "
        f"medians of {ROUNDS}, highest of memory and bytes."
    )
    return page("A model of 2 GiB, incompressible", rows) + f"\n\n{text}"
