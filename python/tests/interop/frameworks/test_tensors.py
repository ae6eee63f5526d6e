"""Tensors of PyTorch as inputs and outputs: what upstream's schema makes of a value, ours makes, too."""

from __future__ import annotations

import contextlib
import json
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from _bentoml_impl.serde import JSONSerde, Payload
from _bentoml_sdk.validators import TensorSchema as UpstreamSchema
from pydantic import TypeAdapter, ValidationError

from ekiben.clients.values import from_json, to_json
from ekiben.io.annotations import annotate
from ekiben.io.outputs import output_of
from ekiben.io.tensor import TensorSchema
from ekiben.io.validators import DType, Shape


def both(dtype: str | None, shape: tuple[int, ...] | None) -> list[TypeAdapter[Any]]:
    schemas = (UpstreamSchema("torch-tensor", dtype, shape), TensorSchema("torch-tensor", dtype, shape))
    return [TypeAdapter(Annotated[torch.Tensor, schema]) for schema in schemas]


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        ([[1, 2], [3, 4]], None, None),
        ([1, 2, 3, 4], "float32", (2, 2)),
        ([0.1, 0.2], "float64", None),
        (True, None, None),
        (np.array([1.5, 2.5], dtype="float32"), None, None),
        (torch.tensor([1, 2]), "float32", None),
    ],
)
def test_values_become_the_same_tensors(value: Any, dtype: str | None, shape: tuple[int, ...] | None) -> None:
    theirs, ours = (adapter.validate_python(value) for adapter in both(dtype, shape))
    assert ours.dtype == theirs.dtype
    assert torch.equal(ours, theirs)
    written = [adapter.dump_json(tensor) for adapter, tensor in zip(both(dtype, shape), (theirs, ours))]
    assert written[0] == written[1]
    schemas = [
        adapter.json_schema(mode=mode) for mode in ("validation", "serialization") for adapter in both(dtype, shape)
    ]
    assert schemas[0] == schemas[1]
    assert schemas[2] == schemas[3]


@pytest.mark.parametrize("value", [[[1], [2, 3]], "text", {"a": 1}, [1, 2, 3]])
def test_what_makes_no_tensor_is_the_clients_fault(value: Any) -> None:
    with pytest.raises(ValidationError):
        both(None, (2, 2))[1].validate_python(value)


def test_annotations_are_read() -> None:
    annotation = annotate(Annotated[torch.Tensor, Shape((1, 2)), DType("float16")])
    assert annotation.__metadata__ == (TensorSchema("torch-tensor", "float16", (1, 2)),)
    with pytest.raises(ValueError, match="`nothing` is no dtype of torch"):
        annotate(Annotated[torch.Tensor, DType("nothing")])
    with pytest.raises(ValueError, match="`nn` is no dtype of torch"):
        annotate(Annotated[torch.Tensor, DType("nn")])


def test_tensors_with_gradients_and_of_any_type_are_written() -> None:
    output = output_of(torch.Tensor)
    assert output.render(torch.tensor([[1.5, 2.0]], requires_grad=True)).body == b"[[1.5, 2.0]]"
    assert output.render(torch.tensor([1.5], dtype=torch.bfloat16)).body == b"[1.5]"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "tensor", "format": "torch-tensor", "dtype": "float32", "shape": [2, 1]},
        {"type": "array", "items": {"type": "tensor", "format": "torch-tensor"}},
        {"type": "object", "properties": {"x": {"type": "tensor", "format": "torch-tensor"}}},
    ],
)
def test_clients_send_and_get_the_same_tensors(schema: dict[str, Any]) -> None:
    tensor = torch.tensor([[1.5], [2.0]])
    value = {"tensor": tensor, "array": [tensor], "object": {"x": tensor}}[schema["type"]]
    theirs = b"".join(JSONSerde().serialize(value, schema).data)
    assert to_json(value, schema) == theirs
    tensor.requires_grad = True  # which upstream cannot send
    assert to_json(value, schema) == theirs
    expected = JSONSerde().deserialize(Payload((theirs,)), schema)
    found = from_json(json.loads(theirs), schema)
    for unpack in (lambda value: value[0], lambda value: value["x"]):
        if not isinstance(expected, torch.Tensor):
            with contextlib.suppress(KeyError, TypeError):
                expected, found = unpack(expected), unpack(found)
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)
