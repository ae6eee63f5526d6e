"""The stores: saving, listing, exporting and importing, against upstream and the system's own tools."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from measure import EKIBEN, PEERS, ROOT, Row, clean_environment, compare, median, page, run, seconds

ROUNDS = 3
SAVED = 4 << 30
SAVED_FILES = 4
ARCHIVED = 1 << 30
CHUNK = 8 << 20
NAMES, VERSIONS = 100, 100

MODEL_YAML = """name: {name}
version: {version}
module: bentoml.sklearn
labels:
  owner: nlp_team
options: {{}}
metadata:
  acc: 0.95
context:
  framework_name: sklearn
  framework_versions:
    scikit-learn: 1.9.1
  bentoml_version: 1.4.39
  python_version: 3.11.2
signatures:
  predict:
    batchable: false
api_version: v1
creation_time: '2026-11-21T22:41:{second:02d}.{number:06d}+00:00'
"""

SAVE = """
import shutil, sys, bentoml
with bentoml.models.create(sys.argv[1]) as model:
    shutil.copytree(sys.argv[2], model.path, dirs_exist_ok=True)
"""


def write_noise(path: Path, size: int, part: float = 1.0) -> None:
    """Write a file of which ``part`` cannot be compressed, as weights; the rest is zeros."""
    noise = int(CHUNK * part)
    with open(path, "wb") as file:
        for _ in range(size // CHUNK):
            file.write(os.urandom(noise) + bytes(CHUNK - noise))


def settle() -> None:
    """Let what was written before not be paid for by what is measured next."""
    os.sync()


def measure_save(place: Path, environment: dict[str, str]) -> list[Row]:
    """Save a directory of 4 GiB; the copy of `cp` is the least that saving can cost."""
    source = place / "weights"
    source.mkdir()
    for number in range(SAVED_FILES):
        write_noise(source / f"weights-{number}.bin", SAVED // SAVED_FILES)
    ours, copied, synced, theirs = [], [], [], []
    for number in range(ROUNDS):
        tag, copy = f"saved:v{number}", place / "copy"
        create = [EKIBEN, "models", "create", tag, "--from", source]
        for times, command, result in (
            (ours, create, environment["BENTOML_HOME"] + f"/models/saved/v{number}"),
            (copied, ["cp", "--recursive", "--reflink=auto", source, copy], copy),
            (
                synced,
                ["sh", "-c", f"cp --recursive --reflink=auto {source} {copy} && sync --file-system {copy}"],
                copy,
            ),
        ):
            settle()
            times.append(run(command, environment).wall)
            shutil.rmtree(result)
        settle()
        theirs.append(run([PEERS / "python", "-c", SAVE, f"saved:u{number}", source], environment).wall)
        shutil.rmtree(Path(environment["BENTOML_HOME"]) / "models/saved")
    shutil.rmtree(source)
    ours, copied, synced, theirs = (median(times) for times in (ours, copied, synced, theirs))
    return [
        compare("save 4 GiB, against `cp`", ours, copied, seconds, "≤ 1.11", ours <= copied / 0.9),
        compare("save 4 GiB, against `cp` and `sync`", ours, synced, seconds, "≤ 1.11", ours <= synced / 0.9),
        compare("save 4 GiB, against upstream", ours, theirs, seconds, "", None),
    ]


def measure_list(place: Path, environment: dict[str, str]) -> list[Row]:
    """List ten thousand models, and none."""
    empty = environment | {"BENTOML_HOME": str(place / "empty")}
    full = place / "full"
    for name in range(NAMES):
        for version in range(VERSIONS):
            number = name * VERSIONS + version
            directory = full / f"models/model-{name}/v{version}"
            directory.mkdir(parents=True)
            fields = {
                "name": f"model-{name}",
                "version": f"v{version}",
                "second": number % 60,
                "number": number,
            }
            (directory / "model.yaml").write_text(MODEL_YAML.format(**fields))
            (directory / "saved_model.pkl").write_bytes(bytes(1000))
        (full / f"models/model-{name}/latest").write_text(f"v{VERSIONS - 1}")
    environment = environment | {"BENTOML_HOME": str(full)}
    arguments = ["models", "list", "-o", "json"]
    ours = median([run([EKIBEN, *arguments], environment).wall for _ in range(ROUNDS)])
    theirs = run([PEERS / "bentoml", *arguments], environment).wall
    start = median([run([EKIBEN, *arguments], empty).wall for _ in range(ROUNDS)])
    their_start = median([run([PEERS / "bentoml", *arguments], empty).wall for _ in range(ROUNDS)])
    shutil.rmtree(full)
    return [
        compare("list 10 000 models", ours, theirs, seconds, "< 150 ms", ours < 0.15),
        compare("list none", start, their_start, seconds, "< 10 ms", start < 0.01),
    ]


def measure_archives(place: Path, environment: dict[str, str]) -> list[Row]:
    """Export and import 1 GiB, half of which compresses; upstream packs on one thread."""
    source = place / "weights"
    source.mkdir()
    write_noise(source / "weights.bin", ARCHIVED, 0.5)
    run([EKIBEN, "models", "create", "archived:v1", "--from", source], environment)
    shutil.rmtree(source)
    rows = []
    walls: dict[str, tuple[float, float]] = {}
    for who, program in (("ekiben", EKIBEN), ("upstream", PEERS / "bentoml")):
        archive = place / f"{who}.bentomodel"
        settle()
        exported = run([program, "models", "export", "archived:v1", archive], environment).wall
        other = environment | {"BENTOML_HOME": str(place / f"import-{who}")}
        settle()
        walls[who] = exported, run([program, "models", "import", archive], other).wall
        archive.unlink()
        shutil.rmtree(place / f"import-{who}")
    (ours, back), (theirs, their_back) = walls["ekiben"], walls["upstream"]
    is_fast = ours <= theirs / 1.8
    rows.append(compare("export 1 GiB, native", ours, theirs, seconds, "≤ 0.56 on two cores", is_fast))
    rows.append(compare("import 1 GiB, native", back, their_back, seconds, "", None))
    return rows


def measure() -> str:
    """Measure, and return a part of the page."""
    place = ROOT / "target/bench/stores"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    environment = clean_environment(
        HOME=place,
        TMPDIR=place,
        BENTOML_HOME=place / "bentoml",
        EKIBEN_CACHE_DIR=place / "cache",
        BENTOML_DO_NOT_TRACK="true",
    )
    rows = [step(place, environment) for step in (measure_list, measure_save, measure_archives)]
    shutil.rmtree(place)
    text = (
        "Upstream BentoML 1.4.39, and `cp --recursive --reflink=auto`. "
        f"Medians of {ROUNDS}; upstream's long runs (lists and archives) once. ekiben waits until a saved "
        "model is on the disk; `cp` and upstream do not."
    )
    return page("The model store", [row for part in rows for row in part]) + f"\n\n{text}"
