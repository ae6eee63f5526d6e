"""``Model``: a version directory of the store."""

from __future__ import annotations

import os
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from ..exceptions import BentoMLException
from ..exports import MODULES, UNSUPPORTED
from ..tag import Tag
from ..unsupported import NotSupportedYet
from .custom_objects import read_custom_objects
from .info import MODEL_YAML, ModelInfo


class Model:
    """A model: its tag, its files, and what ``model.yaml`` says about it."""

    def __init__(self, path: Path, info: ModelInfo, custom_objects: dict[str, Any] | None = None):
        self._path = path
        self.info = info
        self._custom_objects = custom_objects
        self._loaded: Any = None
        # The name under which the model is a class attribute, if it is one.
        self.attribute: str | None = None

    @classmethod
    def read(cls, path: Path) -> Model:
        """Read the model in a version directory."""
        return cls(path, ModelInfo.read(path))

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name

    @property
    def tag(self) -> Tag:
        """The model's name and version."""
        return self.info.tag

    @property
    def path(self) -> str:
        """The directory of the model's files."""
        return str(self._path)

    def path_of(self, item: str) -> str:
        """Return the path of a file of the model."""
        return str(self._path / item.lstrip("/"))

    @property
    def creation_time(self) -> datetime:
        """When the model was saved."""
        return self.info.creation_time

    @property
    def custom_objects(self) -> dict[str, Any]:
        """The Python objects saved with the model, unpickled on first use."""
        if self._custom_objects is None:
            self._custom_objects = read_custom_objects(self._path)
        return self._custom_objects

    @property
    def file_size(self) -> int:
        """The bytes of all files under the model's directory; a link counts as its target."""
        return sum(
            os.stat(os.path.join(directory, name)).st_size
            for directory, _, names in os.walk(self._path, followlinks=True)
            for name in names
        )

    def load_model(self, *args: Any, **kwargs: Any) -> Any:
        """Load the model with the framework module that saved it, once."""
        if self._loaded is None:
            self._loaded = self.framework_module().load_model(self, *args, **kwargs)
        return self._loaded

    def framework_module(self) -> ModuleType:
        """Return the framework module that saved the model."""
        module = self.info.module
        if not module:
            raise BentoMLException(
                f"Module is not defined in {MODEL_YAML} of `{self.tag}`: a model made with "
                "`bentoml.models.create` is read from its files"
            )
        prefix, _, name = module.partition(".")
        if prefix == "bentoml":
            # Never through the name `bentoml`: where upstream is installed too, that is another package.
            if name in MODULES:
                return import_module(MODULES[name])
            if name in UNSUPPORTED:
                raise NotSupportedYet(module, f"cannot load model `{self.tag}`")
        try:
            return import_module(module)
        except (ValueError, ImportError) as error:
            raise BentoMLException(f"Module '{module}' defined in {MODEL_YAML} is not found.") from error

    def with_options(self, **changes: Any) -> Model:
        """Return a copy with some options changed."""
        return Model(self._path, self.info.with_options(**changes), self._custom_objects)

    def to_runner(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Not supported yet."""
        raise NotSupportedYet("Model.to_runner", f"load `{self.tag}` in a `@bentoml.service` class instead")

    def to_runnable(self) -> NoReturn:
        """Not supported yet."""
        raise NotSupportedYet("Model.to_runnable", f"load `{self.tag}` in a `@bentoml.service` class instead")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and self.tag == other.tag

    def __hash__(self) -> int:
        return hash(self.tag)

    def __str__(self) -> str:
        return f'Model(tag="{self.tag}")'

    def __repr__(self) -> str:
        return f'Model(tag="{self.tag}", path="{self.path}")'
