"""``JSON``: any JSON value, or one that fits a pydantic model."""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

from ..exceptions import BadInput
from .base import REFERENCE, Content, Encoded, IODescriptor

if TYPE_CHECKING:
    from pydantic import BaseModel

logger = logging.getLogger(__name__)


class DefaultJsonEncoder(json.JSONEncoder):
    """Writes values of NumPy, pandas, pydantic, attrs and data classes too."""

    def default(self, o: Any) -> Any:
        """Return what stands for an object that JSON has no form for."""
        if dataclasses.is_dataclass(o) and not isinstance(o, type):
            return dataclasses.asdict(o)
        if _is_a(o, "numpy", "ndarray"):
            return o.tolist()
        if _is_a(o, "numpy", "generic"):
            return o.item()
        if _is_a(o, "pandas", "DataFrame") or _is_a(o, "pandas", "Series"):
            return o.to_dict()
        if _is_model(o):
            return o.model_dump()
        fields = getattr(type(o), "__attrs_attrs__", None)
        if fields is not None:
            values = ((field.name, getattr(o, field.name)) for field in fields)
            return {name: value.value if isinstance(value, enum.Enum) else value for name, value in values}
        return super().default(o)


class JSON(IODescriptor):
    """A JSON value; with ``pydantic_model``, an instance of that model as input."""

    def __init__(
        self,
        *,
        pydantic_model: type[BaseModel] | None = None,
        validate_json: bool | None = None,
        json_encoder: type[json.JSONEncoder] = DefaultJsonEncoder,
    ):
        if pydantic_model is not None:
            from pydantic import BaseModel

            if not issubclass(pydantic_model, BaseModel):
                raise AssertionError("'pydantic_model' must be a subclass of 'pydantic.BaseModel'.")
        if validate_json is not None:
            logger.warning(
                "'validate_json' option from 'bentoml.io.JSON' has been deprecated. Use a Pydantic model to specify "
                "validation options instead."
            )
        self._pydantic_model = pydantic_model
        self._json_encoder = json_encoder

    def _take_sample(self, sample: Any) -> Any:
        if _is_model(sample):
            self._pydantic_model = type(sample)
            return sample
        if isinstance(sample, (str, bytes)):
            kind = "string" if isinstance(sample, str) else "bytes"
            try:
                return json.loads(sample)
            except ValueError as error:
                raise BadInput(
                    f"Unable to parse JSON {kind}. Please make sure the input is a valid JSON {kind}: {error}"
                ) from None
        if not isinstance(sample, (dict, list)):
            raise BadInput(
                f"Unable to infer JSON type from sample: {sample}. Please make sure the input is a valid JSON object."
            )
        return sample

    def _arguments(self) -> dict[str, Any]:
        return {
            "has_pydantic_model": self._pydantic_model is not None,
            "has_json_encoder": self._json_encoder is not DefaultJsonEncoder,
        }

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> JSON:
        """Make the descriptor that ``to_spec`` has described, without its classes: a specification has only data."""
        for key, what in {"has_pydantic_model": "pydantic models", "has_json_encoder": "JSON encoders"}.items():
            if spec.get("args", {}).get(key):
                logger.warning(
                    "BentoML does not support loading %s from URLs; output will be a normal dictionary.", what
                )
        return super().from_spec({**spec, "args": {}} if "args" in spec else spec)

    def decode(self, content: Content) -> Any:
        """Return the value, or an instance of the model."""
        try:
            value = json.loads(content.body)
        except json.JSONDecodeError as error:
            raise BadInput(f"Invalid JSON input received: {error}") from None
        if self._pydantic_model is None:
            return value
        from pydantic import ValidationError

        try:
            return self._pydantic_model.model_validate(value)
        except ValidationError as error:
            raise BadInput(f"Invalid JSON input received: {error}") from None

    def encode(self, value: Any) -> Encoded:
        """Return compact JSON; nothing for None."""
        if value is None:
            return self._encoded(b"")
        return self._encoded(self._dump(value.model_dump() if _is_model(value) else value).encode("utf-8"))

    def _dump(self, value: Any) -> str:
        return json.dumps(
            value, cls=self._json_encoder, ensure_ascii=False, allow_nan=False, indent=None, separators=(",", ":")
        )

    def openapi_schema(self) -> dict[str, Any]:
        """Return the schema of bodies in /docs.json; the definitions it refers to are components."""
        if self._pydantic_model is None:
            return {"type": "object"}
        schema = self._pydantic_model.model_json_schema(ref_template=REFERENCE)
        return {key: value for key, value in schema.items() if key != "$defs"}

    def openapi_components(self) -> dict[str, Any]:
        """Return the model's schema and those that it refers to."""
        if self._pydantic_model is None:
            return {}
        schema = self._pydantic_model.model_json_schema(ref_template=REFERENCE)
        definitions = schema.pop("$defs", {})
        return {self._pydantic_model.__name__: schema, **definitions}

    def openapi_example(self) -> Any:
        """Return the sample as it stands in /docs.json."""
        if _is_model(self.sample):
            return self.sample.model_dump()
        return self._dump(self.sample) if isinstance(self.sample, list) else self.sample


def _is_a(value: Any, module: str, name: str) -> bool:
    """Tell whether a value is of a library's class, without importing the library."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(value, kind)


def _is_model(value: Any) -> bool:
    return _is_a(value, "pydantic", "BaseModel")
