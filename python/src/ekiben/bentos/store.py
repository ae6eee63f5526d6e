"""``BentoStore``: the store of bentos."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from ..models.store import ModelStore, active_store
from ..stores import home
from ..stores.store import Store
from .bento import Bento

logger = logging.getLogger(__name__)


class BentoStore(Store[Bento]):
    """The store of bentos. A bento that carries its models gives them to the model store when it is registered."""

    item = Bento

    def register(self, content: Path) -> Bento:
        """Move the models below ``models/`` to the model store, then turn the directory into a bento."""
        carried = content / "models"
        self.refuse_taken(Bento.read(content).tag)
        if carried.is_dir():
            self._take_models(ModelStore(carried, staging=self.staging))
            shutil.rmtree(carried)
        return super().register(content)

    def _take_models(self, carried: ModelStore) -> None:
        models, broken = carried.survey()
        if broken:
            raise broken[0]
        store = active_store()
        for model in models:
            if store.path.joinpath(model.tag.path()).is_dir():
                logger.warning("Model %s already exists in the global model store, skipping copy.", model.tag)
                continue
            with store.stage(model.tag.name) as files:
                shutil.copytree(model.path, files, symlinks=True, dirs_exist_ok=True)
                store.register(files)


def bento_store() -> BentoStore:
    """Return the home's bento store."""
    return BentoStore(home.bentos_directory(), staging=home.scratch_directory())
