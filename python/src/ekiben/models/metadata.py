"""Rules for labels and metadata: what is accepted, what is converted, and how it is written."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

logger = logging.getLogger(__name__)

LEAVES = (str, bytes, bool, int, float, complex, datetime, date, time, timedelta)


def checked_labels(labels: Mapping[str, Any] | None) -> dict[str, str]:
    """Return labels with string values; other values are converted with a warning."""
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise ValueError("labels must be a dict!")
    if not all(isinstance(key, str) for key in labels):
        raise ValueError("label keys must be strings")
    if not all(isinstance(value, str) for value in labels.values()):
        logger.warning("'labels' should be a dict[str, str] and enforced by BentoML. Converting all values to string.")
    return {key: str(value) for key, value in labels.items()}


def checked_metadata(metadata: Mapping[Any, Any] | None) -> dict[Any, Any]:
    """Return a copy of metadata made of basic types only."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise ValueError("metadata must be a dict!")
    return _checked_map(metadata)


def plain(value: Any) -> Any:
    """Return what YAML gets for a checked value: datetimes as ISO text, tuples as lists, no shared objects."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _checked_map(entries: Mapping[Any, Any]) -> dict[Any, Any]:
    if not all(isinstance(key, (str, int, float)) for key in entries):
        raise ValueError("metadata keys must be strings")
    return {key: _checked(value) for key, value in entries.items()}


def _checked(entry: Any) -> Any:
    if isinstance(entry, Mapping):
        return _checked_map(entry)
    if isinstance(entry, list):
        return [_checked(item) for item in entry]
    if isinstance(entry, tuple):
        return tuple(_checked(item) for item in entry)
    converted = _from_library(entry)
    if converted is not entry:
        return _checked(converted)
    if type(entry) in LEAVES or isinstance(entry, LEAVES):
        return entry
    raise ValueError(
        f"metadata entries must be basic python types like 'str', 'int', or 'complex', got '{type(entry).__name__}'"
    )


def _from_library(entry: Any) -> Any:
    """Convert values of numpy and pandas, which need not be installed; anything else comes back as it is."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if isinstance(entry, numpy.ndarray):
            return entry.tolist()
        if isinstance(entry, numpy.generic):
            return entry.item()
    if type(entry).__module__.startswith("scipy.sparse"):
        raise ValueError(
            "SciPy sparse matrices are currently not supported as metadata items; consider using a dictionary instead"
        )
    pandas = sys.modules.get("pandas")
    return entry if pandas is None else _from_pandas(entry, pandas)


def _from_pandas(entry: Any, pandas: Any) -> Any:
    if isinstance(entry, pandas.Series):
        return {entry.name: entry.to_dict()}
    if isinstance(entry, pandas.DataFrame):
        return entry.to_dict()
    if isinstance(entry, pandas.api.extensions.ExtensionArray):
        return entry.to_numpy().tolist()
    if isinstance(entry, pandas.Timestamp):
        return entry.to_pydatetime()
    if isinstance(entry, pandas.Timedelta):
        return entry.to_pytimedelta()
    if isinstance(entry, pandas.Period):
        return entry.to_timestamp().to_pydatetime()
    if isinstance(entry, pandas.Interval):
        return (entry.left, entry.right)
    return entry
