"""Custom commands: a program of the service's own that answers clients, in the place of its APIs.

Worker 1 starts it, waits until its health page answers, and ends with it: whoever keeps the worker running keeps the
command running, too. The front passes requests on to the command's port by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import os
import signal
import string
from typing import TYPE_CHECKING, Any

from ..exceptions import BentoMLConfigException

if TYPE_CHECKING:
    from ..services.service import Service

logger = logging.getLogger("bentoml.serve")

DEFAULT_PORT = 8000
DEFAULT_HEALTH = "/health"
# Between two looks at the health page, and how long each may take; upstream's.
PAUSE_SECONDS = 0.5
HEALTH_SECONDS = 5.0
# What the command may take to end; upstream's.
STOP_SECONDS = 30.0


def command_port(service: Service) -> int:
    """Return the port that the command listens on."""
    port = (service.config.get("http") or {}).get("proxy_port", DEFAULT_PORT)
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 1 << 16:
        raise BentoMLConfigException(f"`http.proxy_port` of service `{service.name}` must be a port, not {port!r}")
    return port


def command_line(service: Service, instance: Any) -> list[str]:
    """Return the program and its arguments; ``${NAME}`` in them are variables of the environment."""
    getter = getattr(instance, "__command__", None)
    if getter is not None and not callable(getter):
        raise TypeError(f"__command__ must be a callable that returns a list of strings, got {type(getter)}")
    command = service.cmd if getter is None else getter()
    if not isinstance(command, (list, tuple)) or not command or not all(isinstance(word, str) for word in command):
        raise TypeError(f"the command of service `{service.name}` must be a list of strings, not {command!r}")
    try:
        return [string.Template(word).substitute(os.environ) for word in command]
    except KeyError as error:
        raise BentoMLConfigException(
            f"the command of service `{service.name}` uses the environment variable {error}, which is not set"
        ) from None


class Command:
    """A running command, with the processes that it has started: they are a group of their own."""

    def __init__(self, process: asyncio.subprocess.Process, service: Service):
        self._process = process
        self._page = HealthPage(service)
        self.pid = process.pid
        self.is_stopping = False

    @classmethod
    async def start(cls, service: Service, instance: Any) -> Command:
        """Start the command."""
        words = command_line(service, instance)
        logger.info("Running service with command: %s", " ".join(words))
        process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL, start_new_session=True)
        service.context.state["proc"] = process
        return cls(process, service)

    async def wait_healthy(self) -> None:
        """Wait until the health page answers."""
        while not await self._page.is_fine():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), PAUSE_SECONDS)
            if self._process.returncode is not None:
                raise RuntimeError(
                    f"Service process exited before becoming healthy (exit status {self._process.returncode}), see the "
                    "error above"
                )

    async def ended(self) -> int:
        """Wait until the command ends by itself, and return its exit status."""
        return await self._process.wait()

    async def stop(self) -> None:
        """Ask the command to end, and end what is left of it after a while."""
        self.is_stopping = True
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except asyncio.TimeoutError:
            logger.warning("the command did not end in %s seconds and is killed", STOP_SECONDS)
        self.kill()
        await self._process.wait()

    def kill(self) -> None:
        """End all of its processes."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        # A group that is gone has ended.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class HealthPage:
    """The page of a command that says how it is."""

    def __init__(self, service: Service):
        self._port = command_port(service)
        self._health = (service.config.get("endpoints") or {}).get("livez") or DEFAULT_HEALTH

    async def wait_fine(self) -> None:
        """Wait for a command that another worker starts."""
        while not await self.is_fine():
            await asyncio.sleep(PAUSE_SECONDS)

    async def is_fine(self) -> bool:
        """Tell whether the command answers well; a page that is not there never will."""
        status = await asyncio.to_thread(self._status)
        if status == 404:
            raise BentoMLConfigException(
                f"Health endpoint {self._health} not found (404). Please make sure the health endpoint is correctly "
                "configured in the service config."
            )
        return status is not None and status < 400

    def _status(self) -> int | None:
        connection = http.client.HTTPConnection("localhost", self._port, timeout=HEALTH_SECONDS)
        try:
            connection.request("GET", self._health)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
