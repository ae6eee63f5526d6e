"""Programs run to their end, with what they cost."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EKIBEN = ROOT / "target/x86_64-unknown-linux-gnu/release/ekiben"
PEERS = ROOT / "target/peers/bin"
# Unit of the kernel's accounting of blocks written (getrusage(2)).
BLOCK = 512


@dataclass(frozen=True)
class Cost:
    """What one run of a program took, its children included."""

    wall: float
    cpu: float
    peak_memory: int
    written: int


@dataclass(frozen=True)
class Row:
    """One line of the page: a measurement of ekiben beside its peer's and its target."""

    what: str
    ekiben: str
    peer: str
    ratio: str
    target: str
    is_met: bool | None


def clean_environment(**more: str | Path) -> dict[str, str]:
    """Return the least that programs need, and what is given."""
    kept = {name: os.environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ}
    path = f"{PEERS}:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "LANG": "C.UTF-8", **kept, **{name: str(value) for name, value in more.items()}}


def run(arguments: list[str | Path], environment: dict[str, str], directory: Path | None = None) -> Cost:
    """Run a program to its end and return what it cost; a failure shows what it printed."""
    command = [str(argument) for argument in arguments]
    started = time.monotonic()
    process = subprocess.Popen(
        command, env=environment, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"`{' '.join(command)}` ended with {process.returncode}:\n{output}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(wall, cpu, usage.ru_maxrss * 1024, usage.ru_oublock * BLOCK)


def output_of(arguments: list[str | Path], environment: dict[str, str], directory: Path | None = None) -> str:
    """Run a program to its end and return what it printed on standard output."""
    command = [str(argument) for argument in arguments]
    done = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def median(values: list[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def seconds(value: float) -> str:
    """Format a duration."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def megabytes(value: float) -> str:
    """Format a size."""
    return f"{value / 1e6:.1f} MB"


def compare(what: str, ekiben: float, peer: float, form, target: str, is_met: bool) -> Row:
    """Make a row of two measurements of the same kind; the ratio is ekiben's part of the peer's."""
    return Row(what, form(ekiben), form(peer), f"{ekiben / peer:.2f}", target, is_met)


def page(title: str, rows: list[Row]) -> str:
    """Format rows as a Markdown table."""
    lines = [
        f"## {title}",
        "",
        "| what | ekiben | peer | ratio | target | met |",
        "|---|---|---|---|---|---|",
    ]
    marks = {True: "yes", False: "**no**", None: ""}
    for row in rows:
        columns = [row.what, row.ekiben, row.peer, row.ratio, row.target, marks[row.is_met]]
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)
