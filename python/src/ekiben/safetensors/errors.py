"""What goes wrong with a checkpoint."""

from __future__ import annotations

from ..exceptions import BentoMLException, NotFound


class SafetensorsError(BentoMLException):
    """A file is not in the safetensors format, or a checkpoint is not whole; ``path`` and ``reason`` say more."""

    def __init__(self, path: str, reason: str):
        self.path = path
        self.reason = reason
        super().__init__(f"cannot load `{path}`: {reason}")


def unreadable(path: str, error: OSError) -> BentoMLException:
    """Return the exception for a file that the system does not give."""
    message = f"cannot load `{path}`: {error.strerror or error}"
    return NotFound(message) if isinstance(error, FileNotFoundError) else BentoMLException(message)
