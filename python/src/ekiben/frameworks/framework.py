"""``Framework``: what every framework module does in the same way, described by what they differ in."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import TYPE_CHECKING, Any, Callable, TypedDict, TypeVar

from .. import models
from ..exceptions import MissingDependencyException, NotFound
from ..models.info import ModelContext, ModelOptions
from ..models.model import Model
from ..tag import Tag

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..runners.runner import Runner

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

# The options of frameworks whose methods take keyword arguments from the model.
PARTIAL_KWARGS: Mapping[str, Any] = {"partial_kwargs": {}}


class Kept(TypedDict, total=False):
    """What every ``save_model`` keeps beside the model itself, all by keyword."""

    signatures: dict[str, Any] | None
    labels: dict[str, str] | None
    custom_objects: dict[str, Any] | None
    external_modules: list[ModuleType] | None
    metadata: dict[str, Any] | None


@dataclass(frozen=True)
class Framework:
    """A framework module: ``bentoml.<name>``."""

    name: str
    # What pip installs, in the order in which the versions are written; the first is in the error when it is missing.
    packages: tuple[str, ...]
    # The name in `model.yaml`, where it is not that of the module.
    context_name: str = ""
    api_version: str = "v1"
    signatures: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"__call__": {"batchable": False}})
    options: Mapping[str, Any] = field(default_factory=dict)
    # How `get` and `load_model` word that a model is another module's.
    refusals: tuple[str, str] = ("not loading", "not loading")

    @property
    def module(self) -> str:
        """The module's name for users, as written to ``model.yaml``."""
        return f"bentoml.{self.name}"

    def require(self, module: str, *, install: str | None = None) -> Any:
        """Import a library; when it is missing, say what to run."""
        try:
            return import_module(module)
        except ImportError as error:
            package = install or self.packages[0]
            raise MissingDependencyException(
                f"'{module.partition('.')[0]}' is required in order to use module '{self.module}': {error}; "
                f"install it with 'pip install {package}'"
            ) from error

    def get(self, tag: Tag | str) -> Model:
        """Return a model of the store; ``NotFound`` when another module saved it."""
        return self._checked(models.get(tag), self.refusals[0])

    def stored(self, model: Tag | str | Model) -> Model:
        """Return the model to load, given by tag or itself; ``NotFound`` when another module saved it."""
        return self._checked(model if isinstance(model, Model) else models.get(model), self.refusals[1])

    def load_runner(
        self, tag: Tag | str, method: str | None = None, *, name: str | None = None, **keywords: Any
    ) -> Runner:
        """Return a runner of a model of the store: the name that ``get(tag).to_runner()`` had before 1.0."""
        from .older import load_runner

        return load_runner(self.get(tag), method, name, keywords)

    @contextmanager
    def saving(
        self,
        name: Tag | str,
        *,
        options: Mapping[str, Any] | None = None,
        signatures: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        versions: Mapping[str, str] | None = None,
        context_name: str | None = None,
        **kept: Unpack[Kept],
    ) -> Iterator[Model]:
        """Yield a model whose directory takes the files; the rest of its description is this framework's."""
        if signatures is None:
            signatures = self.signatures
            if signatures:
                logger.info("Using the default model signature for %s (%s) for model %r.", self.name, signatures, name)
        context = ModelContext(context_name or self.context_name or self.name, dict(versions or self.versions()))
        with models.create(
            name,
            module=self.module,
            api_version=self.api_version,
            signatures=dict(signatures),
            options=ModelOptions(**(self.options if options is None else options)),
            metadata=None if metadata is None else dict(metadata),
            context=context,
            **kept,
        ) as model:
            yield model

    def versions(self) -> dict[str, str]:
        """Return the installed versions of the packages."""
        return {package: self.version(package) for package in self.packages}

    def version(self, *candidates: str) -> str:
        """Return the version of the first of these distributions that is installed."""
        return self.distribution(*candidates)[1]

    def distribution(self, *candidates: str) -> tuple[str, str]:
        """Return the first of these distributions that is installed, with its version."""
        for candidate in candidates:
            try:
                return candidate, version(candidate)
            except PackageNotFoundError:
                continue
        raise MissingDependencyException(
            f"cannot tell the version of {candidates[0]}: none of the distributions {', '.join(candidates)} is "
            f"installed; run 'pip install {candidates[0]}'"
        )

    def _checked(self, model: Model, refusal: str) -> Model:
        # Upstream has also written its implementation's own path there.
        names = (self.module, f"bentoml._internal.frameworks.{self.name}", f"_bentoml_impl.frameworks.{self.name}")
        if model.info.module not in names:
            raise NotFound(
                f"Model {model.tag} was saved with module {model.info.module}, {refusal} with {self.module}."
            )
        return model


def saves(function: F) -> F:
    """Give a ``save_model`` with ``**kept`` the signature that it has: each of the keywords by name."""
    signature = inspect.signature(function)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "kept"]
    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in Kept.__annotations__.items()
    ]

    function.__signature__ = signature.replace(parameters=[*own, *keywords])  # type: ignore[attr-defined]
    return function


def option(model: Model, name: str, default: Any = None) -> Any:
    """Return an option that the framework module wrote, or what an older release meant by not writing it."""
    return getattr(model.info.options, name, default)
