"""Batches of calls: merged where they can be, within the limit, errors with the call that caused them."""

from __future__ import annotations

import asyncio
import typing as t

import numpy as np
import pytest

from ekiben.exceptions import InvalidArgument
from ekiben.worker import batches
from ekiben.worker.batches import Share
from ekiben.worker.values import decode_value, encode_value


def shares(*values: t.Any) -> list[Share]:
    return [Share(((value,), {})) for value in values]


def recording(function: t.Callable[[t.Any], t.Any]) -> tuple[t.Callable[[t.Any], t.Any], list[int]]:
    sizes: list[int] = []

    def run(value: t.Any) -> t.Any:
        sizes.append(len(value))
        return function(value)

    return run, sizes


def test_calls_are_merged_and_split() -> None:
    function, sizes = recording(lambda rows: rows * 2)
    calls = shares(np.array([[1, 2]]), np.array([[3, 4], [5, 6]]))
    batches.compute(function, calls, (0, 0), 100)
    assert sizes == [3]
    assert [share.value.tolist() for share in calls] == [[[2, 4]], [[6, 8], [10, 12]]]


def test_what_cannot_be_merged_is_computed_apart() -> None:
    function, sizes = recording(lambda rows: rows)
    calls = shares([1], np.array([1.5]), np.array([1]), [2, 3], np.array([2.5]))
    batches.compute(function, calls, (0, 0), 100)
    assert sizes == [3, 2, 1]
    assert [list(share.value) for share in calls] == [[1], [1.5], [1], [2, 3], [2.5]]
    assert calls[2].value.dtype.kind == "i", "whole numbers stay whole beside others"


def test_no_call_of_the_function_is_larger_than_the_limit() -> None:
    function, sizes = recording(lambda rows: [row + 1 for row in rows])
    calls = shares(list(range(10)), [100], [200, 300], [400])
    batches.compute(function, calls, (0, 0), 4)
    assert sizes == [4, 4, 2, 4]
    assert calls[0].value == list(range(1, 11))
    assert [share.value for share in calls[1:]] == [[101], [201, 301], [401]]


def test_an_error_stays_with_its_call() -> None:
    def fails(rows: list[int]) -> list[int]:
        if 13 in rows:
            raise InvalidArgument("thirteen")
        return rows

    calls = [*shares([1], [13], [2]), Share(error=ValueError("never read"))]
    batches.compute(fails, calls, (0, 0), 100)
    assert [share.value for share in calls] == [[1], None, [2], None]
    assert isinstance(calls[1].error, InvalidArgument)
    assert str(calls[3].error) == "never read"


def test_a_result_of_another_length_is_an_error() -> None:
    calls = shares([1], [2])
    batches.compute(lambda rows: rows[1:], calls, (0, 0), 100)
    assert all("returned 0" in str(share.error) for share in calls)


def test_results_of_several_outputs_are_split_each() -> None:
    calls = shares([1], [2, 3])
    batches.compute(lambda rows: (rows, [str(row) for row in rows]), calls, (0, 0), 100)
    assert [share.value for share in calls] == [([1], ["1"]), ([2, 3], ["2", "3"])]
    large = shares([1, 2, 3])
    batches.compute(lambda rows: (rows, [str(row) for row in rows]), large, (0, 0), 2)
    assert large[0].value == ([1, 2, 3], ["1", "2", "3"])


def test_asynchronous_functions_are_awaited() -> None:
    async def function(rows: np.ndarray) -> np.ndarray:
        await asyncio.sleep(0)
        return rows.sum(axis=0)

    calls = shares(np.ones((2, 1)), np.ones((2, 3)))
    asyncio.run(batches.compute_async(function, calls, (1, 0), 2))
    assert [share.value.tolist() for share in calls] == [[2.0], [2.0, 2.0, 2.0]]


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([], dtype=np.float32),
        np.array(["a", "b"]),
        np.array(1),
        [1, "a", {"b": np.ones(3)}],
        (("a",), {"k": np.zeros((2, 2))}),
        None,
    ],
    ids=repr,
)
def test_values_survive_the_way_to_another_worker(value: t.Any) -> None:
    encoding, parts = encode_value(value)
    found = decode_value(encoding, b"".join(bytes(part) for part in parts))
    assert type(found) is type(value)
    np.testing.assert_equal(found, value)
    if isinstance(value, np.ndarray):
        assert (found.dtype, found.shape) == (value.dtype, value.shape)


def test_an_array_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="7 bytes are not an array of shape"):
        decode_value({"kind": "array", "dtype": "<f8", "shape": [1]}, b"1234567")
