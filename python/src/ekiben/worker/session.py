"""``Session``: a worker's life, from the import of the user's module to its exit."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Callable

from ..context import server_context
from ..legacy.service import Service as RunnerService
from ..monitoring.settings import set_sections
from ..services.arguments import set_arguments
from ..services.current import set_current_service
from ..services.hooks import DEPLOYMENT, SHUTDOWN, STARTUP, find_hooks
from ..services.loader import AnyService, import_service
from ..services.service import Service
from ..stores.home import serve_bento
from ..unsupported import NotSupportedYet
from .bento import ServedBento
from .channel import Channel
from .frames import Frame, ProtocolError
from .garbage import Garbage
from .invocations import Invocations
from .probes import Probes
from .units import attach_units, find_unit

logger = logging.getLogger("bentoml.serve")

# What answers to this worker's own calls come as.
ANSWERS = ("outcome", "item", "done")
# After the front is gone nobody waits for the answers of synchronous calls; they get a moment, so that shutdown
# hooks do not pull resources from under them, then the process exits.
ORPHAN_GRACE_SECONDS = 5.0
# The front reads all the time; what it has not read after this long it never will.
FLUSH_SECONDS = 5.0
# Threads that user code left running would keep the interpreter from exiting for ever.
EXIT_SECONDS = 10.0
# A traceback of deep recursion must still fit into a frame's header.
MAX_DETAIL = 64 * 1024


@dataclass(frozen=True)
class Settings:
    """The command line of the worker."""

    worker_id: int
    target: str | None
    working_dir: Path
    bento: Path | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    # What `use_arguments` gives, over what the bento says.
    arguments: dict[str, Any] = field(default_factory=dict)
    # What the configuration says of runners.
    runners: dict[str, Any] = field(default_factory=dict)
    # What it says of monitoring.
    monitoring: dict[str, Any] = field(default_factory=dict)
    # The runner or dependency to run; none for the service that clients call.
    unit: str | None = None
    # What is configured for the batches of a runner.
    batching: dict[str, Any] = field(default_factory=dict)
    # Whether the front says which devices the service uses once it has been described.
    awaits_place: bool = False
    # Whether runners and dependencies are part of this process.
    in_process: bool = False


class StartFailure(Exception):
    """The worker cannot serve; ``stage`` tells how far it came."""

    def __init__(self, stage: str, cause: BaseException):
        super().__init__(stage)
        self.stage = stage
        self.cause = cause

    def frame(self) -> dict[str, Any]:
        """Return the ``failed`` frame."""
        text = " ".join(str(self.cause).split())[:MAX_DETAIL]
        detail = "".join(traceback.format_exception(type(self.cause), self.cause, self.cause.__traceback__))
        return {
            "type": "failed",
            "stage": self.stage,
            "message": f"{type(self.cause).__name__}: {text}" if text else type(self.cause).__name__,
            "detail": detail[-MAX_DETAIL:],
        }


class Session:
    """One worker."""

    def __init__(self, channel: Channel, settings: Settings):
        self._channel = channel
        self._settings = settings
        self._garbage = Garbage()
        self._bento: ServedBento | None = None
        self._instance: Any = None
        self._stop: asyncio.Event
        self._orphaned = False
        # The service's own program, and whoever waits for its end.
        self._command: Any = None
        self._watching: asyncio.Task[None] | None = None
        self.exit_status = 0
        # The lives of mounted applications.
        self._mounted: contextlib.AsyncExitStack | None = None

    def run(self) -> None:
        """Live; raises ``StartFailure`` when the worker never became ready."""
        service = self._describe()
        if isinstance(service, Service):  # the models of an old-style one were found when its module was imported
            _run_stage("models", lambda: [reference.resolved() for reference in service.models])
        asyncio.run(self._serve(service))

    def _describe(self) -> AnyService:
        """Import the user's module and tell the front what it has."""
        server_context.worker_index = self._settings.worker_id
        unit = self._settings.unit
        server_context.service_type = "entry_service" if unit is None else unit.partition(":")[0]
        service, import_string = _run_stage("import", self._import)
        if unit is not None:
            batching = self._settings.batching
            return self._describe_unit(_run_stage("import", lambda: find_unit(service, unit, batching)))
        server_context.service_name = service.name
        if isinstance(service, RunnerService):
            server_context.service_type = "api_server"
            server_context.service_routes = [api.path for api in service.apis.values()]
        else:
            server_context.service_routes = [service.full_route(method) for method in service.apis.values()]
        _run_stage("describe", partial(self._send_description, service, import_string))
        if self._settings.awaits_place:
            self._take_place()
        return service

    def _take_place(self) -> None:
        """Take the devices that the front gives; libraries look for them when they are first used."""
        frame = self._channel.wait_for("place")
        if frame is not None:  # otherwise the front is gone, which is found again at the next read
            os.environ.update(frame.header["variables"])

    def _describe_unit(self, unit: Any) -> Any:
        from .description import apply_envs, describe_unit_frame

        server_context.service_name = unit.name
        apply_envs(unit)
        _run_stage("describe", lambda: self._channel.send(describe_unit_frame(unit)))
        return unit

    def _import(self) -> tuple[AnyService, str]:
        settings = self._settings
        target, working_dir = settings.target, settings.working_dir
        if settings.bento is not None:
            self._bento = ServedBento.read(settings.bento)
            target, working_dir = self._bento.target, self._bento.working_dir
            server_context.bento_name = self._bento.name
            server_context.bento_version = self._bento.version
            serve_bento(self._bento.models_dir, self._bento.aliases)
        else:
            serve_bento(None, settings.aliases)
        set_sections(settings.monitoring)
        set_arguments({**(self._bento.arguments if self._bento else {}), **settings.arguments})
        if target is None:
            raise ValueError("neither a target nor a bento is given")
        service = import_service(target, working_dir)
        if self._bento is not None:
            if isinstance(service, Service):
                self._bento.pin_models(service)
            service.bento = self._bento
        return service, service.import_string

    def _send_description(self, service: AnyService, import_string: str) -> None:
        if isinstance(service, RunnerService):
            from .legacy import describe_frame as describe_legacy_frame

            frame = describe_legacy_frame(service, import_string, self._settings.runners)
        else:
            from .description import apply_envs, describe_frame

            frame = describe_frame(service, import_string, self._bento.version if self._bento else None)
            apply_envs(service)
        if self._settings.in_process:
            frame["service"]["units"] = []
        self._channel.send(frame)

    async def _serve(self, service: AnyService) -> None:
        loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        invocations = Invocations(self._channel, loop)
        handlers: dict[str, Callable[[Frame], None]] = dict.fromkeys(ANSWERS, invocations.arrived)
        handlers["drain"] = lambda frame: self._stop.set()
        _run_stage("init", lambda: attach_units(service, invocations, self._settings.in_process))
        # Hooks may call other units already; calls come only after `ready`.
        self._channel.attach(loop, partial(_dispatch, handlers), self._front_is_gone)
        try:
            await (self._start_legacy(service) if isinstance(service, RunnerService) else self._start(service))
        except BaseException:
            self._channel.detach()
            raise
        if isinstance(service, RunnerService):
            from .legacy import LegacyCalls as Calls
        else:
            from .calls import Calls
        calls = Calls(service, self._instance, self._channel, loop)
        if self._settings.unit is None and service.middlewares:
            self._surround(service, calls)
        probes = Probes(self._instance, self._channel)
        handlers |= {
            "call": calls.begin,
            "batch": calls.begin_batch,
            "cancel": lambda frame: calls.cancel(frame.header["id"]),
            "probe": lambda frame: probes.begin(loop, frame),
            "metrics": lambda frame: probes.measure(loop, frame),
        }
        sockets = self._sockets(service, calls, loop)
        if sockets is not None:
            handlers |= sockets.handlers()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        self._garbage.settle(loop, calls.is_idle)
        # Nothing may follow that a call must find done: from now on a thread may answer without the loop.
        self._channel.send({"type": "ready"})
        await self._stop.wait()
        if sockets is not None:
            if self._orphaned:
                sockets.cancel_all()
            await sockets.finished()
        await self._finish(calls, probes, invocations)

    def _surround(self, service: AnyService, calls: Any) -> None:
        """Let the service's middlewares stand around its calls."""
        from .application import Application

        try:
            calls.application = _run_stage("startup", lambda: Application(service, calls, self._channel))
        except BaseException:
            self._channel.detach()
            raise

    def _sockets(self, service: AnyService, calls: Any, loop: asyncio.AbstractEventLoop) -> Any:
        from .sockets import Sockets

        if calls.application is not None:
            return Sockets(calls.application.app, self._channel, loop)
        if not getattr(service, "mount_apps", None):  # a runner has none
            return None
        from .mounts import socket_application

        return Sockets(socket_application(service), self._channel, loop)

    async def _start(self, service: Service) -> None:
        """Run the hooks before serving and construct the service, on the loop: user code may use it."""
        try:
            if self._settings.worker_id == 1 and self._settings.unit is None:
                await _run_hooks(service.inner, service.inner, DEPLOYMENT)
            self._instance = service()
        except Exception as error:
            raise StartFailure("init", error) from error
        set_current_service(self._instance)
        try:
            await _run_hooks(service.inner, self._instance, STARTUP)
            await self._begin_mounted(service)
        except Exception as error:
            raise StartFailure("startup", error) from error
        if self._settings.unit is None and service.has_custom_command:
            await self._run_command(service)

    async def _run_command(self, service: Service) -> None:
        """Start the service's own program, if no other worker does, and wait until it answers."""
        from .command import Command, HealthPage

        try:
            if self._settings.worker_id != 1:
                await self._unless_stopped(HealthPage(service).wait_fine())
                return
            command = await Command.start(service, self._instance)
        except Exception as error:
            raise StartFailure("command", error) from error
        # The front ends what this worker cannot: it may die itself.
        self._channel.send({"type": "command", "pid": command.pid})
        try:
            await self._unless_stopped(command.wait_healthy())
        except BaseException as error:
            command.kill()
            if isinstance(error, Exception):
                raise StartFailure("command", error) from error
            raise
        self._command = command
        self._watching = asyncio.get_running_loop().create_task(self._watch_command(command))

    async def _unless_stopped(self, waiting: Any) -> None:
        """Wait for something, but not when the front ends or is gone."""
        work = asyncio.ensure_future(waiting)
        stop = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not work.done():
            work.cancel()
            raise RuntimeError("the server ended before the command answered")
        await work

    async def _watch_command(self, command: Any) -> None:
        """End the worker when its command ends: it is started again with it."""
        status = await command.ended()
        if not command.is_stopping:
            logger.error("the command ended with exit status %s", status)
            self.exit_status = 1
            self._stop.set()

    async def _start_legacy(self, service: RunnerService) -> None:
        """Run the hooks before serving; the runners are there already."""
        from .legacy import run_hooks

        self._instance = service
        try:
            if self._settings.worker_id == 1:
                await run_hooks("deployment", service.deployment_hooks)
        except Exception as error:
            raise StartFailure("init", error) from error
        set_current_service(service)
        try:
            await run_hooks("startup", service.startup_hooks)
            await self._begin_mounted(service)
        except Exception as error:
            raise StartFailure("startup", error) from error

    async def _begin_mounted(self, service: AnyService) -> None:
        if getattr(service, "mount_apps", None):  # a runner has none
            from .mounts import start_mounts

            self._mounted = await start_mounts(service)

    def _front_is_gone(self, reason: str | None) -> None:
        if reason is not None:
            logger.error("closing the connection to the front: %s", reason)
        self._orphaned = True
        self._stop.set()

    async def _finish(self, calls: Any, probes: Probes, invocations: Invocations) -> None:
        if self._orphaned:
            invocations.lost()
            calls.cancel_all()
            await _at_most(ORPHAN_GRACE_SECONDS, calls.finished())
        else:
            await calls.finished()
        await _at_most(FLUSH_SECONDS, probes.finished())
        if self._command is not None:
            await self._command.stop()
        try:
            await self._run_last_hooks()
        except Exception:
            logger.exception("a shutdown hook failed")
        await _at_most(FLUSH_SECONDS, self._channel.flushed())
        set_current_service(None)
        self._channel.close()
        _exit_within(EXIT_SECONDS)

    async def _run_last_hooks(self) -> None:
        try:
            if self._mounted is not None:
                await self._mounted.aclose()
        finally:
            if isinstance(self._instance, RunnerService):
                from .legacy import stop

                await stop(self._instance)
            else:
                await _run_hooks(type(self._instance), self._instance, SHUTDOWN)


def _dispatch(handlers: dict[str, Callable[[Frame], None]], frame: Frame) -> None:
    try:
        handlers[frame.type](frame)
    except KeyError as error:
        raise ProtocolError(f"frame `{frame.type}` has no member {error}") from error


def _exit_within(seconds: float) -> None:
    """Leave the process, if it has not ended by itself in time: everything that had to be done is done."""

    def leave() -> None:
        time.sleep(seconds)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    threading.Thread(target=leave, name="exit", daemon=True).start()


def _run_stage(stage: str, work: Any) -> Any:
    """Run a part of the start; what it raises becomes the failure of that stage."""
    try:
        return work()
    except NotSupportedYet as error:
        # Found on import already, it still tells about the service, not about the import.
        raise StartFailure("describe" if stage == "import" else stage, error) from error
    except (Exception, SystemExit) as error:
        raise StartFailure(stage, error) from error


async def _run_hooks(cls: type, instance: Any, mark: str) -> None:
    for name in find_hooks(cls, mark):
        logger.info("Running %s hook: %s", mark.strip("_").split("_")[1], name)
        result = getattr(instance, name)()
        if inspect.isawaitable(result):
            await result


async def _at_most(seconds: float, work: Any) -> None:
    try:
        await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:
        logger.warning("gave up waiting after %s seconds", seconds)
