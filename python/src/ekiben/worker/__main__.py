"""``python -m ekiben.worker``: the command line of a worker."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import _ekiben_bentoml

from .channel import Channel
from .logs import send_logs_to
from .session import Session, Settings, StartFailure
from .shared import SharedBodies


class StoppedBeforeReady(BaseException):
    """SIGTERM came while the service was being started; there is nothing to drain yet."""


def main(arguments: list[str] | None = None) -> int:
    """Run a worker; return its exit status."""
    options = _parser().parse_args(arguments)
    if options.target is None and options.bento is None:
        _parser().error("one of --target and --bento is needed")
    # The front decides when to stop: Ctrl-C reaches the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop_before_ready)
    working_dir = (Path(options.bento, "src") if options.bento else options.working_dir).resolve()
    settings = Settings(
        worker_id=options.worker_id,
        target=options.target,
        working_dir=working_dir,
        bento=Path(options.bento).resolve() if options.bento else None,
        aliases=dict(options.aliases),
        arguments=options.arguments or _from_environment("ARGUMENTS"),
        runners=options.runners or _from_environment("RUNNERS"),
        monitoring=options.monitoring or _from_environment("MONITORING"),
        unit=options.unit,
        batching=options.batching,
        awaits_place=options.await_place,
        in_process=options.in_process,
    )
    sock = socket.socket(fileno=options.fd)
    sock.set_inheritable(False)  # a child of user code must not keep the connection open
    shared = None
    if options.shared_fd is not None:
        second = socket.socket(fileno=options.shared_fd)
        second.set_inheritable(False)
        shared = SharedBodies(second)
    channel = Channel(sock, shared)
    send_logs_to(channel)
    # Not every Python runs `.pth` files where the SDK lies.
    _ekiben_bentoml.install()
    try:
        if working_dir.is_dir():
            os.chdir(working_dir)
        session = Session(channel, settings)
        session.run()
        return session.exit_status
    except StartFailure as failure:
        channel.send(failure.frame())
        channel.close()
        return 1
    except StoppedBeforeReady:
        channel.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ekiben.worker", description="Run one worker of a service.")
    parser.add_argument("--fd", type=int, required=True, help="descriptor of the socket to the front")
    parser.add_argument("--shared-fd", type=int, help="descriptor of the socket for bodies in shared memory")
    parser.add_argument("--worker-id", type=int, required=True, help="number of this worker, from 1")
    parser.add_argument("--target", help="import string of the service")
    parser.add_argument("--working-dir", type=Path, default=Path(), help="directory of the user's source")
    parser.add_argument("--bento", help="directory with a bento.yaml, instead of a target")
    parser.add_argument(
        "--alias",
        dest="aliases",
        type=_alias,
        action="append",
        default=[],
        metavar="NAME=TAG",
        help="another name of a model, without a bento",
    )
    parser.add_argument("--arguments", type=_object, default={}, metavar="JSON", help="arguments of the service")
    parser.add_argument("--runners", type=_object, default={}, metavar="JSON", help="configuration of runners")
    parser.add_argument("--monitoring", type=_object, default={}, metavar="JSON", help="configuration of monitoring")
    parser.add_argument("--unit", help="run this runner or dependency of the service: `runner:NAME` or `service:NAME`")
    parser.add_argument("--batching", type=json.loads, default={}, help="what is configured for the runner's batches")
    parser.add_argument("--await-place", action="store_true", help="wait for the devices once the service is described")
    parser.add_argument(
        "--in-process", action="store_true", help="make runners and dependencies in this process, for development"
    )
    return parser


def _alias(text: str) -> tuple[str, str]:
    name, separator, tag = text.partition("=")
    if not (name and separator and tag):
        raise argparse.ArgumentTypeError(f"`{text}` is not of the form NAME=TAG")
    return name, tag


def _stop_before_ready(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise StoppedBeforeReady


def _from_environment(name: str) -> dict[str, Any]:
    """Return what the front says where not everybody may read it; children of user code do not get it."""
    return _object(os.environ.pop(f"EKIBEN_WORKER_{name}", "{}"))


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError("no JSON object")
    return found


if __name__ == "__main__":
    sys.exit(main())
