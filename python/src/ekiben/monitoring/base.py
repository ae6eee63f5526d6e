"""``MonitorBase``: columns of values, collected in the block of a ``with`` and exported at its end."""

from __future__ import annotations

import contextvars
import logging
from collections import deque
from collections.abc import Iterable
from typing import Any

logger = logging.getLogger(__name__)

ROLES = {"feature", "prediction", "target"}
TYPES = {"numerical", "categorical", "numerical_sequence"}


class Record:
    """What one block has logged."""

    def __init__(self, outer: Record | None) -> None:
        self.outer = outer
        self.columns: dict[str, dict[str, str]] = {}
        self.values: dict[str, deque[Any]] = {}


# The record of the running task or thread. A block inside of another one has its own.
_record: contextvars.ContextVar[Record | None] = contextvars.ContextVar("record", default=None)


class MonitorBase:
    """A monitor. Subclasses implement ``export_schema`` and ``export_data``."""

    # Names that the monitor gives to columns of its own.
    PRESERVED_COLUMNS: tuple[str, ...] = ()

    def __init__(self, name: str, **_: Any):
        self.name = name
        self.columns_schema: dict[str, dict[str, str]] | None = None

    def start_record(self) -> None:
        """Begin a record."""
        _record.set(Record(_record.get()))

    def stop_record(self) -> None:
        """Export the record, and the schema with the first."""
        record = _record.get()
        self.drop_record()
        if record is None or not record.values:
            logger.warning("No data logged in this record. Will skip output.")
            return
        lengths = {name: len(values) for name, values in record.values.items()}
        if len(set(lengths.values())) != 1:
            logger.warning("monitor `%s` has columns of several lengths, the rest is dropped: %s", self.name, lengths)
        if self.columns_schema is None:
            self.columns_schema = record.columns
            self.export_schema(record.columns)
        self.export_data(record.values)

    def drop_record(self) -> None:
        """Forget the record: its block has failed."""
        record = _record.get()
        _record.set(None if record is None else record.outer)

    def export_schema(self, columns_schema: dict[str, dict[str, str]]) -> None:
        """Take the names, roles and types of the columns."""
        raise NotImplementedError

    def export_data(self, datas: dict[str, deque[Any]]) -> None:
        """Take the values of a record by column."""
        raise NotImplementedError

    def log(self, data: Any, name: str, role: str, data_type: str) -> None:
        """Add a value to a column."""
        record = _record.get()
        if record is None:
            raise RuntimeError("values are logged in the block of `with bentoml.monitor(...)`")
        if name in self.PRESERVED_COLUMNS:
            logger.warning("Column name %s is reserved, will be renamed to %s", name, f"{name}_")
            name = f"{name}_"
        for kind, given, known in (("Role", role, ROLES), ("Data type", data_type, TYPES)):
            if given not in known:
                logger.warning("%s %s is not officially supported, but will be logged anyway.", kind, given)
        record.columns.setdefault(name, {"name": name, "role": role, "type": data_type})
        record.values.setdefault(name, deque()).append(data)

    def log_batch(self, data_batch: Iterable[Any], name: str, role: str, data_type: str) -> None:
        """Add values to a column."""
        if not hasattr(data_batch, "__iter__"):
            logger.warning("Data batch is not iterable, will ignore the data batch. Please use log() instead.")
            return
        for data in data_batch:
            self.log(data, name, role, data_type)


class SilentMonitor(MonitorBase):
    """Monitoring that is turned off."""

    def export_schema(self, columns_schema: dict[str, dict[str, str]]) -> None:
        """Do nothing."""

    def export_data(self, datas: dict[str, deque[Any]]) -> None:
        """Do nothing."""
