"""``ServedBento``: what ``bento.yaml`` says to a worker: the target, the source directory, the pinned models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exceptions import BentoMLException
from ..stores.documents import read_text
from ..tag import Tag

if TYPE_CHECKING:
    from ..services.service import Service

BENTO_YAML = "bento.yaml"


@dataclass(frozen=True)
class ServedBento:
    """A built bento in a directory."""

    path: Path
    data: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> ServedBento:
        """Read ``bento.yaml``."""
        import yaml

        file = path / BENTO_YAML
        try:
            data = yaml.load(read_text(file), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        except OSError as error:
            raise BentoMLException(f"cannot read `{file}`: {error.strerror}") from error
        except (yaml.YAMLError, ValueError) as error:
            raise BentoMLException(f"cannot read `{file}`: {error}") from error
        if not isinstance(data, dict):
            raise BentoMLException(f"cannot read `{file}`: it is not a mapping")
        for key in ("service", "name", "version"):
            if not isinstance(data.get(key), str):
                raise BentoMLException(f"cannot read `{file}`: missing field `{key}`")
        return cls(path, data)

    @property
    def target(self) -> str:
        """The import string of the service."""
        return self.data["service"]

    @property
    def name(self) -> str:
        """The bento's name."""
        return self.data["name"]

    @property
    def version(self) -> str:
        """The bento's version."""
        return self.data["version"]

    @property
    def working_dir(self) -> Path:
        """The directory of the user's source."""
        return self.path / "src"

    @property
    def models_dir(self) -> Path | None:
        """The store inside the bento, or None where the bento has no model of its own."""
        models = self.path / "models"
        return models if models.is_dir() and any(models.iterdir()) else None

    @property
    def aliases(self) -> dict[str, str]:
        """The aliases that the build file gave to models."""
        return {entry["alias"]: entry["tag"] for entry in self._entries() if entry.get("alias")}

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that the bento was built with."""
        arguments = self.data.get("args") or {}
        return arguments if isinstance(arguments, dict) else {}

    def pin_models(self, service: Service) -> None:
        """Replace the tags of the service's references by the exact versions that the bento was built with."""
        own = next((entry for entry in self.data.get("services") or [] if entry.get("name") == service.name), {})
        listed = [_entry(model) for model in own.get("models") or []]
        same_order = len(listed) == len(service.models)
        for position, reference in enumerate(service.models):
            candidates = [listed[position]] if same_order else listed
            candidates += self._entries()
            entry = next((entry for entry in candidates if _fits(entry, reference)), None)
            if entry is not None:
                reference.pin(entry)

    def _entries(self) -> list[dict[str, Any]]:
        """Return all models of the bento."""
        services = self.data.get("services") or []
        lists = [self.data.get("models") or [], *(service.get("models") or [] for service in services)]
        return [_entry(model) for models in lists for model in models]


def _entry(model: Any) -> dict[str, Any]:
    """Read an entry in today's form, or in the old one of a bare tag."""
    return model if isinstance(model, dict) else {"tag": model}


def _fits(entry: dict[str, Any], reference: Any) -> bool:
    """Tell whether an entry pins this reference: the same model, and the same version where one is asked for."""
    from ..models.references import BentoModel

    tag = Tag.from_str(str(entry["tag"]))
    is_hub = entry.get("registry") == "huggingface"
    if not isinstance(reference, BentoModel):
        # The tag has the repository's name only where a tag can have it; very old entries have nothing else.
        repository = (entry.get("metadata") or {}).get("model_id") or tag.name.replace("--", "/")
        return is_hub and str(repository).lower() == str(reference.model_id).lower()
    wanted = reference.tag
    if is_hub or tag.name != wanted.name:
        return entry.get("alias") == str(wanted)
    return wanted.version in (None, "latest") or str(tag.version).startswith(str(wanted.version))
