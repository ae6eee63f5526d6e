"""A Docker Engine of the bench's own: on its own socket, with its own data, stopped by its process id."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from measure import ROOT, clean_environment, output_of, run

DOCKERD = Path("/usr/sbin/dockerd")
# Debian's client, which has BuildKit built in; another one may come first on the machine's path.
DOCKER = Path("/usr/bin/docker")
STARTS_WITHIN = 60
# The base that upstream builds on, from Debian packages, for machines that reach no registry of images.
BASE = "python:3.11-slim"
BASE_PACKAGES = "python3,python3-pip,python3-venv,ca-certificates"


class Engine:
    """A running engine."""

    def __init__(self) -> None:
        # Short: the path of a socket has at most 107 bytes.
        self.place = Path(tempfile.mkdtemp(prefix="ekiben-bench-"))
        self.data = ROOT / "target/bench/engine"
        self.data.mkdir(parents=True, exist_ok=True)
        self.host = f"unix://{self.place / 'docker.sock'}"
        self.environment = clean_environment(HOME=self.place, DOCKER_HOST=self.host)

    def __enter__(self) -> Engine:
        log = open(self.place / "log", "w")
        command = [
            DOCKERD, "--host", self.host, "--data-root", self.data, "--exec-root", self.place / "exec",
            "--pidfile", self.place / "pid", "--storage-driver", "overlay2",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            [str(word) for word in command], env=self.environment, stdout=log, stderr=subprocess.STDOUT
        )
        deadline = time.monotonic() + STARTS_WITHIN
        version = [str(DOCKER), "version"]
        while subprocess.run(version, env=self.environment, capture_output=True).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the engine does not start:\n{(self.place / 'log').read_text()[-3000:]}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        # A network namespace of the engine's that stays mounted after it.
        subprocess.run(["umount", str(self.place / "exec/netns/default")], capture_output=True)
        shutil.rmtree(self.place)

    def docker(self, *arguments: str | Path) -> str:
        """Run the client and return what it printed."""
        return output_of([DOCKER, *arguments], self.environment).strip()

    def make_base(self) -> None:
        """Make the stand-in for upstream's base image, unless the engine has it from an earlier run."""
        if self.docker("image", "ls", "--quiet", BASE):
            return
        tree = self.place / "base"
        scripts = [
            "rm -f $1/usr/lib/python3*/EXTERNALLY-MANAGED",
            "mkdir -p $1/usr/local/bin",
            "ln -s /usr/bin/python3 $1/usr/local/bin/python",
            "ln -s /usr/bin/python3 $1/usr/local/bin/python3",
            "ln -s /usr/bin/pip3 $1/usr/local/bin/pip",
            "cp /etc/ssl/certs/ca-certificates.crt $1/etc/ssl/certs/ca-certificates.crt",
        ]
        hooks = [f"--customize-hook={script}" for script in scripts]
        tar = self.place / "base.tar"
        bootstrap = ["mmdebstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", *hooks, "bookworm", tar]
        run(bootstrap, self.environment, self.place)
        certificates = "/etc/ssl/certs/ca-certificates.crt"
        variables = f"ENV SSL_CERT_FILE={certificates} PIP_CERT={certificates}"
        self.docker("import", "--change", variables, tar, BASE)
        tar.unlink()
        shutil.rmtree(tree, ignore_errors=True)
