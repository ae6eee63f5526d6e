"""``Model``: a version directory of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..exceptions import BentoMLException
from ..exports import MODULES, UNSUPPORTED
from ..stores.item import Item
from ..stores.kind import MODEL
from ..tag import Tag
from ..unsupported import NotSupportedYet
from .custom_objects import read_custom_objects
from .info import MODEL_YAML, ModelInfo, ModelOptions, ModelSignature

if TYPE_CHECKING:
    from ..runners.runnable import Runnable
    from ..runners.runner import Runner


class Model(Item):
    """A model: its tag, its files, and what ``model.yaml`` says about it."""

    kind = MODEL

    def __init__(self, path: Path, info: ModelInfo, custom_objects: dict[str, Any] | None = None):
        self._path = path
        self.info = info
        self._custom_objects = custom_objects
        self._loaded: Any = None
        self._runnable: type[Runnable] | None = None
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
    def labels(self) -> dict[str, str]:
        """The labels given when the model was saved."""
        return self.info.labels

    @property
    def metadata(self) -> dict[Any, Any]:
        """The metadata given when the model was saved."""
        return self.info.metadata

    @property
    def options(self) -> ModelOptions:
        """The options of the framework module."""
        return self.info.options

    @property
    def signatures(self) -> dict[str, ModelSignature]:
        """The methods that can be called, by name."""
        return self.info.signatures

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

    def move_to(self, path: str) -> None:
        """Take the place that the store has given to what was written."""
        self._path = Path(path)

    def with_options(self, **changes: Any) -> Model:
        """Return a copy with some options changed."""
        return Model(self._path, self.info.with_options(**changes), self._custom_objects)

    def with_signatures(self, signatures: Mapping[str, ModelSignature]) -> Model:
        """Return a copy with other methods that can be called."""
        return Model(self._path, replace(self.info, signatures=dict(signatures)), self._custom_objects)

    def to_runner(
        self,
        name: str = "",
        max_batch_size: int | None = None,
        max_latency_ms: int | None = None,
        method_configs: dict[str, dict[str, int]] | None = None,
        embedded: bool = False,
        scheduling_strategy: type | None = None,
    ) -> Runner:
        """Return a runner of the model's signatures, with the model's name unless another is given."""
        from ..runners.runner import Runner

        return Runner(
            self.to_runnable(),
            name=name or self.tag.name,
            models=[self],
            max_batch_size=max_batch_size,
            max_latency_ms=max_latency_ms,
            method_configs=method_configs,
            embedded=embedded,
            scheduling_strategy=scheduling_strategy,
        )

    def to_runnable(self) -> type[Runnable]:
        """Return the class that the framework module makes of the model, once; nothing is loaded yet."""
        if self._runnable is None:
            module = self.framework_module()
            get_runnable = getattr(module, "get_runnable", None)
            if get_runnable is None:
                raise BentoMLException(
                    f"cannot make a runner of model `{self.tag}`: module `{self.info.module}` has no `get_runnable`"
                )
            self._runnable = get_runnable(self)
        return self._runnable
