"""``ModelStore``: the store of models, and the one that lookups go to."""

from __future__ import annotations

from ..stores import home
from ..stores.store import Store
from .model import Model


class ModelStore(Store[Model]):
    """The store of models."""

    item = Model


def active_store() -> ModelStore:
    """Return the store that lookups go to: of the bento that this process serves, else of the home."""
    return ModelStore(home.models_directory(), staging=home.scratch_directory())
