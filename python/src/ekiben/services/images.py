"""``bentoml.images``: the image a service asks for. Only the build reads it; here it is kept, so that code loads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Image:
    """What goes into a service's image, step by step."""

    base_image: str = ""
    distro: str = "debian"
    python_version: str | None = None
    commands: list[str] = field(default_factory=list)
    lock_python_packages: bool = True
    pack_git_packages: bool = True
    python_requirements: str = ""
    post_commands: list[str] = field(default_factory=list)
    build_include_paths: list[str] = field(default_factory=list)
    steps: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def _step(self, kind: str, *arguments: str) -> Any:
        self.steps.append((kind, arguments))
        return self

    def system_packages(self, *packages: str) -> Image:
        """Install packages of the distribution."""
        return self._step("system_packages", *packages)

    def python_packages(self, *packages: str) -> Image:
        """Install Python packages."""
        return self._step("python_packages", *packages)

    def requirements_file(self, file_path: str) -> Image:
        """Install the packages that a requirements file names."""
        return self._step("requirements_file", file_path)

    def pyproject_toml(self, file_path: str = "pyproject.toml") -> Image:
        """Install the dependencies that a pyproject file names."""
        return self._step("pyproject_toml", file_path)

    def uv_lock(self) -> Image:
        """Install what ``uv.lock`` names."""
        return self._step("uv_lock")

    def run(self, command: str) -> Image:
        """Run a command in the image."""
        return self._step("run", command)

    def run_script(self, script: str) -> Image:
        """Run a script in the image."""
        return self._step("run_script", script)

    def build_include(self, *file_paths: str) -> Image:
        """Make files available to the commands before."""
        return self._step("build_include", *file_paths)
