"""Log lines of the worker, sent to the front."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .channel import Channel

# The loggers of the SDK, and the one that user code is told to use.
LOGGERS = ("bentoml", "ekiben")
# A line must fit into a frame's header, however its characters are encoded.
MAX_MESSAGE = 128 * 1024


class FrontHandler(logging.Handler):
    """Turns log records into ``log`` frames."""

    def __init__(self, channel: Channel):
        super().__init__(logging.INFO)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record, with its traceback if it has one."""
        try:
            message = self.format(record)[:MAX_MESSAGE]
            if self._channel.closed:
                print(message, file=sys.stderr)  # noqa: T201 (nobody else is left to tell)
            else:
                self._channel.send({"type": "log", "level": _level(record.levelno), "message": message})
        except Exception:
            self.handleError(record)


def send_logs_to(channel: Channel) -> None:
    """Send the SDK's log lines to the front instead of the worker's standard error."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(FrontHandler(channel))
        logger.propagate = False


def _level(number: int) -> str:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"
