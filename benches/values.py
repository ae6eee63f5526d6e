"""Measures calls between two services with large arrays: through shared memory, and through the sockets.

`python benches/values.py EKIBEN_SERVE PYTHON` runs the server twice with each, and prints a table: how long a
call takes that sends an array and gets it back (docs/adr/0011).
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request

SIZES = [64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20]
SERVICE = """
import time

import bentoml
import numpy as np


@bentoml.service
class Inner:
    @bentoml.api
    def back(self, data: np.ndarray) -> np.ndarray:
        return data


@bentoml.service(traffic={"timeout": 600})
class Outer:
    inner = bentoml.depends(Inner)

    @bentoml.api
    def times(self, size: int, count: int) -> list:
        data = np.ones(size, dtype="uint8")
        found = []
        for _ in range(count):
            begun = time.perf_counter()
            answer = self.inner.back(data)
            answer.max()
            found.append(time.perf_counter() - begun)
        return found
"""


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process."""
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(program: str, python: str, sharing: str) -> dict[int, tuple[float, float]]:
    """Return milliseconds and CPU milliseconds of a call for each size."""
    with tempfile.TemporaryDirectory() as directory:
        open(os.path.join(directory, "service.py"), "w").write(SERVICE)
        environment = {**os.environ, "EKIBEN_SHARED_MEMORY": sharing}
        command = [program, "service:Outer", "--port", "0", "--python", python]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=directory, env=environment, stdout=pipe, text=True) as server:
            port = None
            for line in server.stdout:
                port = port or next(iter(re.findall(r"localhost:(\d+)", line)), None)
                if "Outer initialized" in line:
                    break
            found = {}
            for size in SIZES:
                count = max(3, min(100, (1 << 28) // size))
                children = open(f"/proc/{server.pid}/task/{server.pid}/children").read().split()
                pids = [server.pid, *map(int, children)]
                before = sum(map(cpu, pids))
                body = json.dumps({"size": size, "count": count}).encode()
                kind = {"content-type": "application/json"}
                request = urllib.request.Request(f"http://localhost:{port}/times", body, kind)
                times = json.load(urllib.request.urlopen(request))
                spent = sum(map(cpu, pids)) - before
                found[size] = (sorted(times)[len(times) // 2] * 1000, spent / count * 1000)
            server.terminate()
            server.stdout.read()
        return found


def main() -> None:
    """Print the table: medians of the better of two runs."""
    program, python = sys.argv[1:]
    runs = {sharing: [measure(program, python, sharing) for _ in range(2)] for sharing in ("1", "off")}
    print("| array | shared, ms | socket, ms | shared, CPU ms | socket, CPU ms |\n|---|---|---|---|---|")
    for size in SIZES:
        columns = [
            min(run[size][place] for run in runs[sharing]) for place in (0, 1) for sharing in ("1", "off")
        ]
        print(f"| {size >> 10} KiB |", " | ".join(f"{value:.2f}" for value in columns), "|")


if __name__ == "__main__":
    main()
