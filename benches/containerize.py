"""The iris project into an image: ekiben against upstream `bentoml containerize`, into the same engine."""

from __future__ import annotations

import http.client
import os
import shutil
import time
from pathlib import Path

from measure import (
    EKIBEN,
    PEERS,
    ROOT,
    Row,
    clean_environment,
    compare,
    median,
    megabytes,
    page,
    run,
    seconds,
)

from engine import Engine

ROUNDS = 5
# A cold build of upstream's takes half a minute.
COLD_ROUNDS = 3
READY_WITHIN = 60
LARGE = 1 << 30


class Tool:
    """One of the two tools, with stores and caches of its own."""

    def __init__(self, name: str, program: Path, engine: Engine, place: Path, options: list[str]) -> None:
        self.name, self.program, self.engine, self.options = name, program, engine, options
        self.place = place / name
        self.project = self.place / "project"
        shutil.copytree(ROOT / "testdata/projects/iris", self.project)
        self.cache = self.place / "cache"
        self.environment = clean_environment(
            HOME=self.place, BENTOML_HOME=self.place / "bentoml", EKIBEN_CACHE_DIR=self.cache,
            UV_CACHE_DIR=self.cache / "uv", DOCKER_HOST=engine.host, DOCKER_BUILDKIT="1",
            BENTOML_DO_NOT_TRACK="true",
        )  # fmt: skip
        self.version = 0
        self.image = f"iris:{name}"
        run([PEERS / "python", self.project / "train.py"], self.environment)

    def build(self) -> float:
        """Build the bento and return the time it took."""
        self.version += 1
        build = [self.program, "build", self.project, "--version", f"v{self.version}"]
        return run(build, self.environment, self.project).wall

    def containerize(self) -> float:
        """Put the image of the newest bento into the engine and return the time it took."""
        tag = f"iris_classifier:v{self.version}"
        return run(
            [self.program, "containerize", tag, "-t", self.image, *self.options], self.environment
        ).wall

    def forget(self) -> None:
        """Make the next image the first one of this machine; the base of upstream's stays."""
        self.engine.docker("builder", "prune", "--all", "--force")
        shutil.rmtree(self.cache, ignore_errors=True)

    def edit(self) -> None:
        """Change a line of the service."""
        service = self.project / "service.py"
        service.write_text(service.read_text() + f"# edit {time.time_ns()}\n")

    def add_large_model(self) -> None:
        """Let the bento have a model of 1 GiB."""
        weights = self.place / "weights"
        weights.mkdir()
        with open(weights / "weights.bin", "wb") as file:
            for _ in range(LARGE >> 20):
                file.write(os.urandom(1 << 20))
        run([EKIBEN, "models", "create", "large:v1", "--from", weights], self.environment)
        shutil.rmtree(weights)
        with open(self.project / "bentofile.yaml", "a") as file:
            file.write("models:\n  - large:v1\n")

    def size(self) -> int:
        """Return the size of the image, unpacked."""
        return int(self.engine.docker("image", "inspect", "--format", "{{.Size}}", self.image))

    def start(self) -> float:
        """Run a container until it is ready and return the time from the command."""
        started = time.monotonic()
        container = self.engine.docker("run", "--detach", "--publish", "127.0.0.1::3000", self.image)
        try:
            port = int(self.engine.docker("port", container, "3000/tcp").rsplit(":", 1)[1])
            while not is_ready(port):
                if time.monotonic() - started > READY_WITHIN:
                    raise SystemExit(f"not ready:\n{self.engine.docker('logs', container)}")
                time.sleep(0.005)
            return time.monotonic() - started
        finally:
            self.engine.docker("rm", "--force", container)


def is_ready(port: int) -> bool:
    """Ask once."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


class Times:
    """What was measured of one tool."""

    def __init__(self) -> None:
        self.cold: list[float] = []
        self.unchanged: list[float] = []
        self.edit: list[float] = []
        self.large_edit: list[float] = []
        self.start: list[float] = []
        self.size = 0


def measure_tool(tool: Tool, times: Times) -> None:
    """Measure one tool, all but the starts of containers."""
    tool.build()
    for _ in range(COLD_ROUNDS):
        tool.forget()
        times.cold.append(tool.containerize())
    times.size = tool.size()
    for _ in range(ROUNDS):
        times.unchanged.append(tool.containerize())
    for _ in range(ROUNDS):
        tool.edit()
        times.edit.append(tool.build() + tool.containerize())


def measure_large(tool: Tool, times: Times) -> None:
    """Measure code edits of a bento with a model of 1 GiB."""
    tool.add_large_model()
    tool.build()
    tool.containerize()
    for _ in range(COLD_ROUNDS):
        tool.edit()
        times.large_edit.append(tool.build() + tool.containerize())


def measure() -> str:
    """Measure, and return a part of the page."""
    place = ROOT / "target/bench/containerize"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    with Engine() as engine:
        engine.make_base()
        ours = Tool("ekiben", EKIBEN, engine, place, [])
        # Its build runs package managers: with the machine's own network they are fastest.
        theirs = Tool("bentoml", PEERS / "bentoml", engine, place, ["--opt", "network=host"])
        mine, peer = Times(), Times()
        for tool, times in ((ours, mine), (theirs, peer)):
            measure_tool(tool, times)
        # In turn, so that a slow moment of the machine meets both.
        for _ in range(ROUNDS):
            mine.start.append(ours.start())
            peer.start.append(theirs.start())
        for tool, times in ((ours, mine), (theirs, peer)):
            measure_large(tool, times)
    shutil.rmtree(place)
    return page("The iris project into an engine", rows(mine, peer)) + (
        "\n\nThe peer is upstream BentoML 1.4.39 with BuildKit, whose base image is in the engine; "
        "ekiben assembles its own. Cold: no build cache, no package cache. "
        "Edits count `build` and `containerize` together. "
        f"Medians of {ROUNDS} ({COLD_ROUNDS} for cold builds and large models)."
    )


def rows(mine: Times, peer: Times) -> list[Row]:
    """Compare the medians with each other and with the targets."""

    def timed(
        what: str, field: str, target: str, limit: float | None = None, part: float | None = None
    ) -> Row:
        ours, theirs = median(getattr(mine, field)), median(getattr(peer, field))
        is_met = ours < limit if limit is not None else ours <= part * theirs
        return compare(what, ours, theirs, seconds, target, is_met)

    return [
        timed("cold image", "cold", "≤ 0.5", part=0.5),
        timed("unchanged", "unchanged", "< 300 ms", limit=0.3),
        timed("code edit", "edit", "< 300 ms", limit=0.3),
        timed("code edit, with a model of 1 GiB", "large_edit", "< 300 ms", limit=0.3),
        compare("image, unpacked", mine.size, peer.size, megabytes, "< 300 MB", mine.size < 300e6),
        timed("`docker run` to ready", "start", "< 0.5", part=0.5),
    ]
