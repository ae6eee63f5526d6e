"""Measures ekiben against its peers and prints a page of ratios; see `benches/run`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

import containerize
import hub_model
import large_model
import serving
import stores
import weights
from measure import ROOT, clean_environment, output_of

BENCHES = {
    "containerize": containerize.measure,
    "hub-model": hub_model.measure,
    "large-model": large_model.measure,
    "serving": serving.measure,
    "stores": stores.measure,
    "weights": weights.measure,
}


def machine() -> str:
    """Describe the machine."""
    model = next(
        (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, {platform.system()} {platform.release()}"


def commit() -> str:
    """Name the commit, and whether the tree differs from it."""
    environment = clean_environment(HOME=ROOT)
    safe = ["git", "-c", f"safe.directory={ROOT}"]
    name = output_of([*safe, "rev-parse", "--short=12", "HEAD"], environment, ROOT).strip()
    is_clean = not output_of([*safe, "status", "--porcelain"], environment, ROOT).strip()
    return name if is_clean else f"{name}, with changes"


def main() -> int:
    """Run the benches named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "benches", nargs="*", metavar="BENCH", help=f"one of {', '.join(BENCHES)}; all by default"
    )
    parser.add_argument("--output", type=Path, help="a file to write the page to as well")
    arguments = parser.parse_args()
    unknown = set(arguments.benches) - set(BENCHES)
    if unknown:
        parser.error(f"there is no bench `{unknown.pop()}`; there are {', '.join(BENCHES)}")
    head = (
        "# Benchmarks\n\nMade by `benches/run`: both sides of every ratio were measured in the same run.\n\n"
        f"- machine: {machine()}\n- commit: {commit()}"
    )
    parts = [
        head,
        *(measure() for name, measure in BENCHES.items() if name in (arguments.benches or BENCHES)),
    ]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
