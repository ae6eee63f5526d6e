"""Runs only in the frameworks' environment, where ``bentoml`` is upstream; ``../test_frameworks.py`` starts it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

# Upstream finds its home once, when it is imported: all tests share one, which the starter names.
HOME = os.environ.get("BENTOML_HOME")
IS_THERE = all(importlib.util.find_spec(module) is not None for module in ("xgboost", "torch"))

collect_ignore_glob = [] if IS_THERE and HOME else ["test_*.py"]


@pytest.fixture(autouse=True)
def home() -> Path:
    """Keep the home that the process was started with."""
    return Path(HOME or "")
