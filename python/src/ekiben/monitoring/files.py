"""``DefaultMonitor``: lines of JSON in files, one of schemas and one of data for each worker."""

from __future__ import annotations

import datetime
import json
import logging
import logging.config
import logging.handlers
from collections import deque
from pathlib import Path
from typing import Any

from ..clients.values import plain
from ..context import current_request, current_request_id, server_context
from ..exceptions import BentoMLConfigException
from .base import MonitorBase

# What the loggers are called in a file of the user's own.
DATA, SCHEMA = "bentoml_monitor_data", "bentoml_monitor_schema"


class DefaultMonitor(MonitorBase):
    """Writes ``NAME/data/data.WORKER.log``, a new file every day, and ``NAME/schema/schema.WORKER.log``.

    Both are below ``log_path``. ``log_config_file`` is a configuration of Python's logging, in YAML, with
    ``{data_filename}``, ``{schema_filename}``, ``{worker_id}`` and ``{monitor_name}``.
    """

    PRESERVED_COLUMNS = ("timestamp", "request_id", "trace_id")

    def __init__(self, name: str, log_path: str = "monitoring", log_config_file: str | None = None, **_: Any):
        super().__init__(name)
        self.log_path = log_path
        self.log_config_file = log_config_file
        self._loggers: dict[str, logging.Logger] | None = None

    def export_schema(self, columns_schema: dict[str, dict[str, str]]) -> None:
        """Write the schema."""
        about = {"bento_name": server_context.bento_name, "bento_version": server_context.bento_version}
        self._write(SCHEMA, {"meta_data": about, "columns": list(columns_schema.values())})

    def export_data(self, datas: dict[str, deque[Any]]) -> None:
        """Write a line for every row."""
        about = {
            "timestamp": datetime.datetime.now().isoformat(),
            "request_id": current_request_id(),
            "trace_id": _trace_id(),
        }
        for row in zip(*datas.values()):
            self._write(DATA, {**dict(zip(datas, row)), **about})

    def _write(self, kind: str, document: dict[str, Any]) -> None:
        if self._loggers is None:
            self._loggers = self._open()
        # A formatter of the user's own may want the mapping, ours its text.
        self._loggers[kind].info(document if self.log_config_file else json.dumps(document, default=plain))

    def _open(self) -> dict[str, logging.Logger]:
        worker = server_context.worker_index or 0
        files = {
            DATA: Path(self.log_path, self.name, "data", f"data.{worker}.log").absolute(),
            SCHEMA: Path(self.log_path, self.name, "schema", f"schema.{worker}.log").absolute(),
        }
        for file in files.values():
            file.parent.mkdir(parents=True, exist_ok=True)
        if self.log_config_file is not None:
            names = {"data_filename": files[DATA], "schema_filename": files[SCHEMA], "worker_id": worker}
            logging.config.dictConfig(_configuration(self.log_config_file, {**names, "monitor_name": self.name}))
            return {kind: logging.getLogger(kind) for kind in files}
        handlers = {
            DATA: logging.handlers.TimedRotatingFileHandler(files[DATA], when="D", encoding="utf-8"),
            SCHEMA: logging.handlers.RotatingFileHandler(files[SCHEMA], encoding="utf-8"),
        }
        return {kind: _logger(f"{kind}.{self.name}", handler) for kind, handler in handlers.items()}


def _logger(name: str, handler: logging.Handler) -> logging.Logger:
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [handler]
    return logger


def _configuration(path: str, names: dict[str, Any]) -> Any:
    import yaml

    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8").format(**names))
    except (OSError, ValueError, KeyError, IndexError, yaml.YAMLError) as error:
        raise BentoMLConfigException(f"cannot read the logging configuration `{path}` of a monitor: {error}") from error


def _trace_id() -> str:
    """Return the trace that the request belongs to, empty where there is none."""
    request = current_request()
    parts = request.headers.get("traceparent", "").split("-") if request is not None else []
    return parts[1] if len(parts) == 4 else ""
