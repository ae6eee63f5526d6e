"""Merging the arguments of several calls into one batch, and splitting its result exactly: pure functions.

A value is *merged* with others of its kind along a dimension. ``merge_key`` tells which may be merged: those with equal
keys, so that what a call gets never depends on the calls that it was merged with. A value without a key travels alone.

To add a kind of value: a ``BatchKind`` in a file here, and its line in ``kinds``.
"""

from __future__ import annotations

from .calls import call_key, call_size, merge_calls, split_result
from .kinds import batch_size, concatenate, merge_key, split

__all__ = [
    "batch_size",
    "call_key",
    "call_size",
    "concatenate",
    "merge_calls",
    "merge_key",
    "split",
    "split_result",
]
