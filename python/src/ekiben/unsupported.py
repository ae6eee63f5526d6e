"""Errors for what upstream has and the SDK has not yet: the message always names the construct."""

from __future__ import annotations

from .exceptions import BentoMLException


class NotSupportedYet(BentoMLException):
    """A construct of upstream that ekiben does not support yet."""

    def __init__(self, construct: str, detail: str = ""):
        self.construct = construct
        super().__init__(f"`{construct}` is not supported yet by ekiben{f': {detail}' if detail else ''}")


class UnsupportedAttribute(NotSupportedYet, AttributeError):
    """Raised by ``bentoml.X``; an ``AttributeError``, so that ``hasattr`` keeps its meaning."""


class UnsupportedImport(NotSupportedYet, ImportError):
    """Raised by ``import bentoml.X`` and ``from bentoml import X``."""
