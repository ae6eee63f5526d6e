"""``importing()``: imports that only a worker needs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ..context import server_context

logger = logging.getLogger("bentoml.service")


@contextmanager
def importing() -> Iterator[None]:
    """Swallow an ``ImportError`` of the block, except in a worker, where it is an error."""
    try:
        yield
    except ImportError as error:
        if server_context.worker_index is not None:
            raise
        logger.info("Skipping import of module %s: it is not available in the current environment", error.name)
