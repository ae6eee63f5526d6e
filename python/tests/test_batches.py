"""Merging calls and splitting results: values of seeded random shapes come back exactly; only what fits is merged."""

from __future__ import annotations

import random
import sys
import types
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bentoml.exceptions import BentoMLException, InvalidArgument

from ekiben.runners.batches import (
    batch_size,
    call_key,
    call_size,
    concatenate,
    merge_calls,
    merge_key,
    split,
    split_result,
)

SEEDS = range(40)
DTYPES = ("float32", "float64", "int8", "int64", "bool", "complex64", "U3", "O", "datetime64[s]")


def arrays(chance: random.Random) -> tuple[list[np.ndarray], int]:
    """Return arrays that may be merged, and along which dimension; some are empty, some not in C order."""
    shape = [chance.randint(0, 4) for _ in range(chance.randint(1, 4))]
    dim = chance.randrange(-len(shape), len(shape))
    dtype = chance.choice(DTYPES)
    made = []
    for _ in range(chance.randint(1, 6)):
        shape[dim] = chance.randint(0, 5)
        values = np.array([chance.randint(0, 1) for _ in range(int(np.prod(shape)))]).astype(dtype)
        made.append(values.reshape(shape, order=chance.choice("CF")))
    return made, dim


@pytest.mark.parametrize("seed", SEEDS)
def test_arrays_come_back_exactly(seed: int) -> None:
    values, dim = arrays(random.Random(seed))
    batch, sizes = concatenate(values, dim)
    assert batch.flags.c_contiguous
    assert sizes == [value.shape[dim] for value in values] == [batch_size(value, dim) for value in values]
    assert batch.shape[dim] == sum(sizes)
    parts = split(batch, sizes, dim)
    assert len(parts) == len(values)
    for part, value in zip(parts, values):
        assert part.dtype == value.dtype
        assert part.shape == value.shape
        np.testing.assert_array_equal(part, value)


@pytest.mark.parametrize("seed", SEEDS)
def test_lists_come_back_exactly(seed: int) -> None:
    chance = random.Random(seed)
    items = ["ab", 1, None, {"k": 1}, (1, 2), [3], "", b"x"]
    values = [[chance.choice(items) for _ in range(chance.randint(0, 5))] for _ in range(chance.randint(1, 6))]
    batch, sizes = concatenate(values)
    assert batch == [item for value in values for item in value]
    assert split(batch, sizes) == values


@pytest.mark.parametrize("seed", SEEDS)
def test_frames_come_back_exactly(seed: int) -> None:
    chance = random.Random(seed)
    columns = {"n": "int64", "x": "float32", "s": "object", 7: "bool"}
    chosen = {name: columns[name] for name in chance.sample(list(columns), chance.randint(1, 4))}
    frames = []
    for _ in range(chance.randint(1, 6)):
        rows = chance.randint(0, 5)
        data = {name: pd.Series([chance.randint(0, 1)] * rows, dtype=dtype) for name, dtype in chosen.items()}
        frames.append(pd.DataFrame(data))
    batch, sizes = concatenate(frames)
    assert sizes == [len(frame) for frame in frames]
    for part, frame in zip(split(batch, sizes), frames):
        pd.testing.assert_frame_equal(part, frame)


def test_rows_are_numbered_anew() -> None:
    left, right = pd.DataFrame({"a": [1, 2]}, index=["x", "y"]), pd.DataFrame({"a": [3]}, index=["z"])
    batch, sizes = concatenate([left, right])
    assert list(batch.index) == [0, 1, 2]
    assert [list(part.index) for part in split(batch, sizes)] == [[0, 1], [0]]
    series, sizes = concatenate([left["a"], right["a"]])
    assert [part.tolist() for part in split(series, sizes)] == [[1, 2], [3]]
    assert [list(part.index) for part in split(series, sizes)] == [[0, 1], [0]]


def test_the_dimensions_of_the_documentation() -> None:
    """Scenario 14: rows, columns, and in along 1 but out along 0."""
    rows = [np.array([[1, 2], [3, 4]]), np.array([[5, 6]])]
    assert concatenate(rows, 0)[0].tolist() == [[1, 2], [3, 4], [5, 6]]
    columns = [np.array([[1, 2], [3, 4]]), np.array([[5], [6]])]
    batch, sizes = concatenate(columns, 1)
    assert (batch.tolist(), sizes) == ([[1, 2, 5], [3, 4, 6]], [2, 1])
    assert [part.tolist() for part in split(batch.sum(axis=0), sizes, 0)] == [[4, 6], [11]]


def test_longer_texts_are_merged() -> None:
    batch, sizes = concatenate([np.array(["a"]), np.array(["longer"])])
    assert [part.tolist() for part in split(batch, sizes)] == [["a"], ["longer"]]


MASKED = np.ma.masked_array([1, 2], mask=[True, False])
DIFFERENT = {
    "kinds": (np.array([1]), [1]),
    "types": (np.array([1]), np.array([1.5])),
    "lengths": (np.ones((2, 3)), np.ones((2, 4))),
    "dimensions": (np.ones((2, 3)), np.ones((2, 3, 1))),
    "columns": (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
    "orders": (pd.DataFrame({"a": [1], "b": [1]}), pd.DataFrame({"b": [1], "a": [1]})),
    "column types": (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1.5]})),
    "frame and series": (pd.DataFrame({"a": [1]}), pd.Series([1], name="a")),
    "names": (pd.Series([1], name="a"), pd.Series([1], name="b")),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_is_not_merged(name: str) -> None:
    left, right = DIFFERENT[name]
    assert merge_key(left) is not None
    assert merge_key(left) != merge_key(right)
    with pytest.raises(InvalidArgument, match=r"^`\w+`.* cannot be merged with `\w+`"):
        concatenate([left, right])


@pytest.mark.parametrize("value", ["text", 5, None, {"a": 1}, (1, 2), b"bytes", object(), MASKED])
def test_what_cannot_be_merged_travels_alone(value: Any) -> None:
    assert merge_key(value) is None
    assert call_key((value,), {}) is None
    with pytest.raises(InvalidArgument, match="^a value of type `.*` cannot be merged with others$"):
        concatenate([value, value])
    with pytest.raises(InvalidArgument, match="cannot be merged"):
        concatenate([[1], value])


def test_texts_and_tuples_are_one_item() -> None:
    assert [batch_size(value) for value in ("abc", (1, 2), {"a": 1, "b": 2}, None)] == [1, 1, 1, 1]


def test_dimensions_that_are_not_there() -> None:
    with pytest.raises(InvalidArgument, match="^an array of 1 dimension cannot be merged along dimension 1$"):
        concatenate([np.array([1])], 1)
    with pytest.raises(InvalidArgument, match="^an array of 0 dimensions cannot be merged along dimension 0$"):
        batch_size(np.array(1))
    with pytest.raises(InvalidArgument, match="^a list can be merged along dimension 0 only, not 1$"):
        concatenate([[1], [2]], 1)
    with pytest.raises(InvalidArgument, match="^a data frame can be merged along dimension 0 only, not 1$"):
        batch_size(pd.DataFrame({"a": [1]}), 1)
    with pytest.raises(InvalidArgument, match="^there are no values to merge$"):
        concatenate([])


@pytest.mark.parametrize("result", [[1, 2], np.ones(4), pd.Series([1, 2]), pd.DataFrame({"a": [1, 2]})])
def test_a_result_of_another_length_is_an_error(result: Any) -> None:
    with pytest.raises(BentoMLException, match=f"^a batchable method got 3 items and returned {len(result)} along"):
        split_result(result, [1, 2])


@pytest.mark.parametrize("result", [None, {"a": 1}, "abc", 5, ()])
def test_a_result_that_cannot_be_split_is_an_error(result: Any) -> None:
    with pytest.raises(BentoMLException, match=f"not a value of type `{type(result).__name__}`$"):
        split_result(result, [1, 2])


def test_several_outputs_are_split_each() -> None:
    labels, scores = np.array([0, 1, 2]), ["a", "b", "c"]
    first, second = split_result((labels, scores), [1, 2])
    assert (first[0].tolist(), first[1]) == ([0], ["a"])
    assert (second[0].tolist(), second[1]) == ([1, 2], ["b", "c"])


@pytest.mark.parametrize("seed", SEEDS)
def test_calls_of_several_arguments_come_back_exactly(seed: int) -> None:
    chance = random.Random(seed)
    width = chance.randint(1, 3)
    calls = []
    for _ in range(chance.randint(1, 6)):
        rows = chance.randint(0, 4)
        data = np.array([chance.random() for _ in range(rows * width)]).reshape(rows, width)
        calls.append(((data, list(range(rows))), {"weights": np.arange(rows)}))
    assert len({call_key(*call) for call in calls}) == 1
    args, kwargs, sizes = merge_calls(calls)
    assert sizes == [call_size(*call) for call in calls]
    results = split_result((*args, kwargs["weights"]), sizes)
    for (call_args, call_kwargs), (data, numbers, weights) in zip(calls, results):
        np.testing.assert_array_equal(data, call_args[0])
        assert numbers == call_args[1]
        np.testing.assert_array_equal(weights, call_kwargs["weights"])


def test_calls_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="^All batchable arguments must have the same batch size.$"):
        call_size(([1, 2],), {"other": np.ones(3)})
    with pytest.raises(ValueError, match="^All batchable arguments must have the same batch size.$"):
        merge_calls([(([1], [1]), {}), (([1, 2], [1]), {})])
    with pytest.raises(InvalidArgument, match="^calls that give different arguments cannot be merged$"):
        merge_calls([(([1],), {}), (([1],), {"b": [1]})])
    with pytest.raises(InvalidArgument, match="^a call without arguments cannot be merged with others$"):
        merge_calls([((), {})])
    with pytest.raises(InvalidArgument, match="^there are no calls to merge$"):
        merge_calls([])
    assert call_key((), {}) is None
    assert call_key(([1],), {"a": [1], "b": [2]}) == call_key(([2],), {"b": [1], "a": [2]})
    assert call_key(([1],), {}) != call_key(([1],), {"a": [1]})


class StandInTensor:
    """What the tensors of a library have in common, on an array."""

    device = "cpu"

    def __init__(self, values: Any):
        self.values = np.asarray(values)
        self.shape = self.values.shape
        self.dtype = self.values.dtype

    def devices(self) -> set[str]:
        return {self.device}

    def __getitem__(self, place: Any) -> StandInTensor:
        return type(self)(self.values[place])


def join(values: Any, dim: int = 0, axis: int = 0) -> StandInTensor:
    return type(values[0])(np.concatenate([value.values for value in values], axis=dim or axis))


LIBRARIES = {
    "torch": {"Tensor": type("Tensor", (StandInTensor,), {}), "cat": join},
    "tensorflow": {"Tensor": type("EagerTensor", (StandInTensor,), {}), "concat": join},
    "jax": {"Array": type("Array", (StandInTensor,), {}), "numpy": types.SimpleNamespace(concatenate=join)},
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_tensors_are_merged_by_their_library(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real PyTorch is asked in ``interop/frameworks``; the other two are not installed for tests."""
    contents = LIBRARIES[library]
    monkeypatch.setitem(sys.modules, library, types.SimpleNamespace(**contents))
    tensor = contents.get("Tensor") or contents["Array"]
    values = [tensor([[1, 2], [3, 4]]), tensor([[5], [6]])]
    batch, sizes = concatenate(values, 1)
    assert (batch.values.tolist(), sizes) == ([[1, 2, 5], [3, 4, 6]], [2, 1])
    assert [part.values.tolist() for part in split(batch, sizes, 1)] == [[[1, 2], [3, 4]], [[5], [6]]]
    with pytest.raises(InvalidArgument, match=r"of shape \(1,\) and type float64 cannot be merged with"):
        concatenate([tensor([1]), tensor([1.5])])
