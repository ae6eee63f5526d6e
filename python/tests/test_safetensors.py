"""``bentoml.safetensors`` against the package ``safetensors``, and against files that mean harm."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bentoml
import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from bentoml.exceptions import BentoMLException, InvalidArgument, MissingDependencyException, NotFound
from bentoml.safetensors import SafetensorsError, load_file

from ekiben.safetensors import contents as file_contents
from ekiben.safetensors import readahead
from ekiben.safetensors.header import DTYPES

Tensors = dict[str, Any]

WIDTHS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
FLOATS = [np.float16, np.float32, np.float64, np.complex64, ml_dtypes.bfloat16]
F8 = [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]
# Every type that the package writes from NumPy, in the shapes that matter.
SAMPLE: Tensors = {
    **{np.dtype(kind).name: np.arange(15).astype(kind).reshape(3, 5) for kind in [*WIDTHS, *FLOATS]},
    "bool": np.array([True, False, True]),
    "scalar": np.array(7, np.int32),
    "empty": np.zeros((2, 0, 3), np.float32),
}


# What the format forbids, and the package lets pass.
STRICTER = ("is there twice", "does not begin with `{`")


def encode(header: Any, data: bytes = b"") -> bytes:
    """Return a file with a header that need not be right."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def assert_equal(found: Tensors, expected: Tensors) -> None:
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture
def sample(path: Path) -> Path:
    safetensors.numpy.save_file(SAMPLE, path, metadata={"format": "np"})
    return path


@pytest.mark.parametrize("mmap", [True, False])
def test_every_type_is_what_the_package_wrote(sample: Path, mmap: bool) -> None:
    found = load_file(sample, mmap=mmap)
    assert_equal(found, SAMPLE)
    assert_equal(found, safetensors.numpy.load_file(sample))
    assert all(array.flags.aligned and array.flags.writeable for array in found.values())


def test_both_names_of_the_sdk_are_one(sample: Path) -> None:
    assert bentoml.safetensors.load_file is load_file
    assert_equal(load_file(str(sample)), load_file(os.fsencode(sample)))


def test_what_is_written_to_a_tensor_stays_in_the_process(sample: Path) -> None:
    before = sample.read_bytes()
    found = load_file(sample)
    found["float32"][:] = 5
    assert found["float32"].sum() == 75
    assert load_file(sample)["float32"].sum() == 105
    assert sample.read_bytes() == before


def test_a_mapped_file_is_not_copied(path: Path) -> None:
    safetensors.numpy.save_file({"a": np.zeros(64 << 20, np.uint8)}, path)
    script = """if True:
        import sys
        from ekiben.safetensors import load_file
        import numpy

        def anonymous():
            text = open("/proc/self/status").read()
            return int(text.split("RssAnon:")[1].split()[0]) << 10

        before = anonymous()
        array = load_file(sys.argv[1], mmap=sys.argv[2] == "yes")["a"]
        assert int(array.max()) == 0
        print(anonymous() - before)
    """
    grown = {
        mmap: int(subprocess.run([sys.executable, "-c", script, path, mmap], capture_output=True, check=True).stdout)
        for mmap in ("yes", "no")
    }
    assert grown["yes"] < 8 << 20
    assert grown["no"] >= 64 << 20


def test_tensors_outlive_the_file(sample: Path) -> None:
    found = load_file(sample)
    sample.unlink()
    gc.collect()
    assert_equal(found, SAMPLE)


def test_no_descriptor_is_left_open(sample: Path) -> None:
    def open_files() -> int:
        for thread in threading.enumerate():
            if thread.name.startswith("safetensors"):
                thread.join()
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    before = open_files()
    for _ in range(5):
        load_file(sample)
        load_file(sample, mmap=False)
    sample.write_bytes(b"short")
    with pytest.raises(SafetensorsError):
        load_file(sample)
    assert open_files() == before


@pytest.mark.parametrize("mmap", [True, False])
def test_tensors_at_odd_places_are_aligned_copies(path: Path, mmap: bool) -> None:
    header = {"a": tensor("U8", [3], 0, 3), "b": tensor("F32", [2], 3, 11), "c": tensor("BF16", [1], 11, 13)}
    values = np.array([1.5, -2], np.float32)
    path.write_bytes(encode(header, b"\1\2\3" + values.tobytes() + b"\x80\x3f"))
    found = load_file(path, mmap=mmap)
    assert_equal(found, safetensors.numpy.load_file(path))
    assert found["b"].tolist() == [1.5, -2]
    assert all(array.flags.aligned and array.flags.writeable for array in found.values())


def test_parts_of_several_threads_make_the_whole(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_contents, "PART", 7)
    for threads in (1, 3):
        assert_equal(load_file(sample, mmap=False, threads=threads), SAMPLE)


def test_a_file_system_that_cannot_map_is_read(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_keywords: Any) -> None:
        raise OSError(19, "No such device")

    real = file_contents.memory.mmap
    mappings: list[Any] = []

    def only_anonymous(descriptor: int, *arguments: Any, **keywords: Any) -> Any:
        if descriptor != -1:
            refuse()
        mappings.append(real(descriptor, *arguments, **keywords))
        return mappings[-1]

    monkeypatch.setattr(file_contents.memory, "mmap", only_anonymous)
    assert_equal(load_file(sample), SAMPLE)
    assert len(mappings) == 1


@pytest.fixture
def piped(tmp_path: Path) -> Iterator[Any]:
    """Return a function that makes a pipe with a file's bytes in it."""
    writers = []

    def pipe(data: bytes) -> Path:
        path = tmp_path / "pipe"
        os.mkfifo(path)
        writers.append(threading.Thread(target=write, args=(path, data)))
        writers[-1].start()
        return path

    def write(path: Path, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            path.write_bytes(data)

    yield pipe
    for writer in writers:
        writer.join()


def test_a_pipe_is_read(sample: Path, piped: Any) -> None:
    assert_equal(load_file(piped(sample.read_bytes())), SAMPLE)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"12345", "it has 5 bytes, too few"),
        (encode({"a": tensor("U8", [2], 0, 2)}, b"1"), "it ends after 1 of 2 bytes of tensors"),
        (encode({"a": tensor("U8", [2], 0, 2)}, b"123"), "it goes on after its 2 bytes of tensors"),
        (encode({"a": tensor("U8", [2], 0, 2)})[:-2], "its header of .* is cut off after"),
    ],
)
def test_a_pipe_that_ends_too_early_or_too_late(piped: Any, data: bytes, reason: str) -> None:
    with pytest.raises(SafetensorsError, match=reason):
        load_file(piped(data))


ONE = b'"a":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}'

BAD = {
    "empty": (b"", "it has 0 bytes, too few for a safetensors file"),
    "short": (b"1234567", "it has 7 bytes, too few"),
    "header too long": ((100_000_001).to_bytes(8, "little") + b"{}", "more than the 100000000 that the format allows"),
    "length of a pickle": (b"\x80\x04\x95\xff\xff\xff\xff\xff{}", "more than the 100000000"),
    "header cut off": ((9).to_bytes(8, "little") + b"{}", "its header of 9 bytes is cut off: the file has 10 bytes"),
    "no header": (encode(b""), "does not begin with `{`"),
    "a list": (encode(b"[]"), "does not begin with `{`"),
    "a space first": (encode(b" {}"), "does not begin with `{`"),
    "not UTF-8": (encode(b'{"\xff":1}'), "its header is not UTF-8, at byte 2"),
    "half a character": (encode(b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'), "not valid JSON"),
    "not JSON": (encode(b"{"), "its header is not valid JSON"),
    "two documents": (encode(b"{}{}"), "its header is not valid JSON"),
    "not a number": (encode(b'{"a":NaN}'), "`NaN` is no JSON"),
    "deep": (encode(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "nested too deeply|not valid JSON"),
    "huge number": (encode(b'{"a":{"dtype":"U8","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,1]}}'), "."),
    "a tensor twice": (
        encode(b"{%b,%b}" % (ONE % (0, 1), ONE % (1, 2)), b"12"),
        "the key `a` is there twice",
    ),
    "a key twice": (
        encode(b'{"a":{"dtype":"I8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"),
        "the key `dtype` is there twice",
    ),
    "not described": (encode({"a": 1}), "tensor `a` is not described by an object"),
    "metadata is a list": (encode({"__metadata__": []}), "`__metadata__` in its header is not a map of text to text"),
    "metadata has numbers": (encode({"__metadata__": {"a": 1}}), "`__metadata__` in its header is not a map"),
    "unknown type": (encode({"a": tensor("F7", [1], 0, 1)}, b"1"), "tensor `a` is of the unknown type `F7`"),
    "type is a list": (encode({"a": tensor(["F32"], [1], 0, 4)}, b"1234"), "of the unknown type"),
    "no shape": (encode({"a": {"dtype": "U8", "data_offsets": [0, 1]}}, b"1"), "the shape of tensor `a` is not a list"),
    "negative": (encode({"a": tensor("U8", [-1, -1], 0, 1)}, b"1"), "the shape of tensor `a` is not a list of sizes"),
    "a broken size": (encode({"a": tensor("U8", [1.0], 0, 1)}, b"1"), "the shape of tensor `a` is not a list of sizes"),
    "true is no size": (encode({"a": tensor("U8", [True], 0, 1)}, b"1"), "the shape of tensor `a` is not a list"),
    "one offset": (encode({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0]}}, b"1"), "the offsets of tensor"),
    "backwards": (encode({"a": tensor("U8", [1], 1, 0)}, b"1"), "the offsets of tensor `a`"),
    "negative offset": (encode({"a": tensor("U8", [1], -1, 0)}, b"1"), "the offsets of tensor `a`"),
    "more than memory": (
        encode({"a": tensor("F64", [1 << 40, 1 << 40], 0, 1)}, b"1"),
        "tensor `a` has more elements than any memory",
    ),
    "overflow to nothing": (
        encode({"a": tensor("U8", [1 << 32, 1 << 32], 0, 0)}),
        "tensor `a` has more elements than any memory",
    ),
    "size of another type": (
        encode({"a": tensor("F32", [2], 0, 4)}, b"1234"),
        r"tensor `a` has 4 bytes; its type F32 and shape \[2\] make 8",
    ),
    "half a byte": (encode({"a": tensor("F4", [3], 0, 2)}, b"12"), r"its type F4 and shape \[3\] make 1.5"),
    "a hole at the start": (encode({"a": tensor("U8", [1], 1, 2)}, b"12"), "there is a hole before tensor `a`"),
    "a hole": (
        encode({"a": tensor("U8", [1], 0, 1), "b": tensor("U8", [1], 2, 3)}, b"123"),
        "there is a hole before tensor `b`, at byte 1 of the data",
    ),
    "an overlap": (
        encode({"a": tensor("U8", [2], 0, 2), "b": tensor("U8", [2], 1, 3)}, b"123"),
        "there is an overlap before tensor `b`",
    ),
    "the same bytes": (
        encode({"a": tensor("U8", [2], 0, 2), "b": tensor("U8", [2], 0, 2)}, b"12"),
        "there is an overlap before tensor `b`",
    ),
    "beyond the end": (encode({"a": tensor("U8", [9], 0, 9)}, b"1"), "it has .* bytes instead of "),
    "more at the end": (encode({"a": tensor("U8", [1], 0, 1)}, b"12"), "it has .* bytes instead of "),
    "data of nothing": (encode({}, b"12"), "it has 12 bytes instead of 10"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_refused_with_its_reason(path: Path, what: str) -> None:
    data, reason = BAD[what]
    path.write_bytes(data)
    with pytest.raises(SafetensorsError, match=reason) as failed:
        load_file(path)
    assert str(failed.value).startswith(f"cannot load `{path}`: ")
    if not any(text in failed.value.reason for text in STRICTER):
        with pytest.raises(safetensors.SafetensorError):
            safetensors.deserialize(data)


def mutations(original: bytes, rounds: int) -> Iterator[bytes]:
    """Change a good file in ways that come near to good ones."""
    chance = random.Random(20)
    length = int.from_bytes(original[:8], "little")
    for _ in range(rounds):
        data = bytearray(original)
        for _ in range(chance.randint(1, 3)):
            where = chance.randrange(min(8 + length, len(data)))
            kind = chance.randrange(6)
            if kind == 0:
                data[where] = chance.randrange(256)
            elif kind == 1:
                data[where] = chance.choice(b'0123456789[]{},:"')
            elif kind == 2:
                del data[where]
                data[:8] = (int.from_bytes(data[:8], "little") - 1 & (1 << 64) - 1).to_bytes(8, "little")
            elif kind == 3:
                data[where:where] = chance.choice([b"0", b"1", b"9", b" ", b"-", b"e2", b"\\u0000"])
            elif kind == 4:
                data[chance.randrange(8)] = chance.randrange(256)
            else:
                del data[chance.randrange(len(data)) :]
            if len(data) < 9:
                break
        yield bytes(data)


def test_changed_files_are_refused_exactly_when_the_package_refuses_them(path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "weight": tensor("F32", [2, 3], 0, 24),
        "bias": tensor("F16", [2], 24, 28),
        "mask": tensor("BOOL", [], 28, 29),
        "none": tensor("I64", [0, 4], 29, 29),
    }
    original = encode(header, bytes(29))
    safetensors.deserialize(original)
    accepted = 0
    for data in [original, *mutations(original, 4000)]:
        path.write_bytes(data)
        expected, refusal = None, None
        with contextlib.suppress(safetensors.SafetensorError):
            expected = {name: item["shape"] for name, item in safetensors.deserialize(data)}
        try:
            found = load_file(path, raw=True, mmap=accepted % 2 == 0)
        except SafetensorsError as error:
            refusal = error.reason
        if refusal is not None:
            assert expected is None or any(text in refusal for text in STRICTER), (refusal, data)
            continue
        assert expected is not None, data
        assert {name: list(array.shape) for name, array in found.items()} == expected
        for array in found.values():
            array.tobytes()
        accepted += 1
    assert accepted > 50


def test_types_that_numpy_lacks_name_the_package(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(encode({"half": tensor("BF16", [2], 0, 4)}, b"\x80\x3f\x00\xc0"))
    assert load_file(path)["half"].tolist() == [1.0, -2.0]
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    message = (
        "^'ml_dtypes' is required because tensor `half` is of type BF16: .* 'pip install ml_dtypes', or pass `raw="
    )
    with pytest.raises(MissingDependencyException, match=message):
        load_file(path)
    raw = load_file(path, raw=True)["half"]
    assert (raw.dtype, raw.tolist()) == (np.uint16, [0x3F80, 0xC000])
    monkeypatch.setitem(sys.modules, "ml_dtypes", object())
    with pytest.raises(SafetensorsError, match="`half` is of type BF16, and this release of `ml_dtypes` has no such"):
        load_file(path)


@pytest.mark.parametrize("dtype", [name for name in DTYPES if name.startswith("F8")])
def test_floats_of_a_byte(path: Path, dtype: str) -> None:
    path.write_bytes(encode({"a": tensor(dtype, [2, 2], 0, 4)}, b"\x38\x40\x44\x3c"))
    found = load_file(path)["a"]
    assert (found.dtype.itemsize, found.shape, found.tobytes()) == (1, (2, 2), b"\x38\x40\x44\x3c")
    assert found.dtype != np.uint8
    assert load_file(path, raw=True)["a"].tolist() == [[0x38, 0x40], [0x44, 0x3C]]


def test_elements_that_share_a_byte_come_as_they_are(path: Path) -> None:
    path.write_bytes(encode({"a": tensor("F4", [2, 2], 0, 2), "b": tensor("F6_E2M3", [4], 2, 5)}, b"12345"))
    with pytest.raises(SafetensorsError, match="tensor `a` is of type F4, and NumPy has no such type; pass `raw=True`"):
        load_file(path)
    found = load_file(path, raw=True)
    assert {name: (array.dtype.name, array.tobytes()) for name, array in found.items()} == {
        "a": ("uint8", b"12"),
        "b": ("uint8", b"345"),
    }


def save_shards(directory: Path, files: dict[str, list[str]]) -> dict[str, str]:
    for file, names in files.items():
        safetensors.numpy.save_file({name: SAMPLE[name] for name in names}, directory / file)
    return {name: file for file, names in files.items() for name in names}


SHARDS = {
    "model-00001-of-00002.safetensors": ["int8", "float32", "bfloat16"],
    "model-00002-of-00002.safetensors": ["float64", "scalar"],
}


def write_index(directory: Path, weight_map: Any, name: str = "model.safetensors.index.json") -> Path:
    path = directory / name
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return path


def test_a_sharded_checkpoint(tmp_path: Path) -> None:
    weight_map = save_shards(tmp_path, SHARDS)
    expected = {name: SAMPLE[name] for name in weight_map}
    assert_equal(load_file(tmp_path), expected)
    index = write_index(tmp_path, weight_map)
    safetensors.numpy.save_file({"int8": np.zeros(1)}, tmp_path / "other.safetensors")
    assert_equal(load_file(tmp_path), expected)
    assert_equal(load_file(index, mmap=False), expected)
    # What the index does not name is left out.
    del weight_map["scalar"], expected["scalar"]
    assert_equal(load_file(write_index(tmp_path, weight_map)), expected)
    os.rename(index, tmp_path / "diffusion_pytorch_model.safetensors.index.json")
    assert_equal(load_file(tmp_path), expected)
    write_index(tmp_path, weight_map, "unet.safetensors.index.json")
    with pytest.raises(SafetensorsError, match="several checkpoints, give the path of one: diffusion.*, unet"):
        load_file(tmp_path)
    safetensors.numpy.save_file({"whole": np.ones(1)}, tmp_path / "model.safetensors")
    assert list(load_file(tmp_path)) == ["whole"]


def test_the_order_of_tensors_is_that_of_their_bytes(tmp_path: Path) -> None:
    save_shards(tmp_path, SHARDS)
    found = load_file(tmp_path)
    places = [array.__array_interface__["data"][0] for array in found.values()]
    assert places[:3] == sorted(places[:3])
    assert set(list(found)[:3]) == set(SHARDS["model-00001-of-00002.safetensors"])


@pytest.mark.parametrize(
    ("weight_map", "reason"),
    [
        ({"a": "../secret.safetensors"}, "tensor `a` is in no file beside the index, but in '../secret.safetensors'"),
        ({"a": "/etc/passwd"}, "is in no file beside the index"),
        ({"a": ".."}, "is in no file beside the index"),
        ({"a": ""}, "is in no file beside the index"),
        ({"a": "a\0b"}, "is in no file beside the index"),
        ({"a": 5}, "is in no file beside the index, but in 5"),
        ([], "the index has no `weight_map`"),
        ({"absent": "model-00001-of-00002.safetensors"}, "tensor `absent` is not in it, although the index says so"),
    ],
)
def test_a_bad_index_is_refused(tmp_path: Path, weight_map: Any, reason: str) -> None:
    save_shards(tmp_path, SHARDS)
    with pytest.raises(SafetensorsError, match=reason):
        load_file(write_index(tmp_path, weight_map))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the index is not valid JSON"),
        ("[" * 200_000, "the index is not valid JSON"),
        ("\xff", "the index is not valid JSON"),
        ("7", "the index has no `weight_map`"),
    ],
)
def test_an_index_that_is_none(tmp_path: Path, text: str, reason: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(text.encode("latin-1"))
    with pytest.raises(SafetensorsError, match=reason):
        load_file(index)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    index = write_index(tmp_path, save_shards(tmp_path, SHARDS))
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        NotFound, match="^cannot load `.*/model-00002-of-00002.safetensors`: No such file or directory$"
    ):
        load_file(index)


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    save_shards(tmp_path, {"a.safetensors": ["int8"], "b.safetensors": ["int8"]})
    with pytest.raises(SafetensorsError, match=r"tensor `int8` is in `.*/a.safetensors` too: give the path of one"):
        load_file(tmp_path)


def test_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no `\*.safetensors` in it"):
        load_file(tmp_path)
    with pytest.raises(NotFound, match="^cannot load `.*/absent`: No such file or directory$"):
        load_file(tmp_path / "absent")
    (tmp_path / "inner.safetensors").mkdir()
    with pytest.raises(BentoMLException, match="^cannot load `.*`: Is a directory$"):
        load_file(tmp_path)


def test_a_model_of_the_store_and_a_snapshot_of_the_hub(sample: Path, tmp_path: Path) -> None:
    with bentoml.models.create("weights") as model:
        Path(model.path_of("model.safetensors")).write_bytes(sample.read_bytes())
    assert_equal(load_file(model), SAMPLE)
    assert_equal(load_file(bentoml.models.get("weights").path), SAMPLE)
    snapshot = tmp_path / "models--org--name/snapshots/c0ffee"
    snapshot.mkdir(parents=True)
    (snapshot.parent.parent / "blobs").mkdir()
    os.rename(sample, snapshot.parent.parent / "blobs/f00")
    (snapshot / "model.safetensors").symlink_to("../../blobs/f00")
    assert_equal(load_file(snapshot), SAMPLE)


def test_what_is_asked_for_must_make_sense(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InvalidArgument, match="framework `jax` is not known to safetensors: choose one of numpy, torch"
    ):
        load_file(sample, framework="jax")
    with pytest.raises(InvalidArgument, match="`device` is for the framework `torch`"):
        load_file(sample, device="cuda")
    with pytest.raises(InvalidArgument, match="`threads` must be at least 1, but is 0"):
        load_file(sample, threads=0)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        MissingDependencyException, match="'torch' is required to load tensors of torch: .* 'pip install"
    ):
        load_file(sample, framework="torch")


def read_everything(paths: list[Path]) -> list[tuple[str, int, int]]:
    """Read ahead and return what the kernel was asked for."""
    asked: list[tuple[str, int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readahead, "_is_in_memory", lambda *_: False)
        patch.setattr(
            readahead.os,
            "posix_fadvise",
            lambda descriptor, offset, length, _advice: asked.append(
                (Path(os.readlink(f"/proc/self/fd/{descriptor}")).name, offset, length)
            ),
        )
        readahead.read_ahead([str(path) for path in paths], 1)
        for thread in threading.enumerate():
            if thread.name == "safetensors-read-ahead":
                thread.join()
    return asked


def test_mapped_files_are_read_ahead_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readahead, "PART", 1 << 20)
    monkeypatch.setattr(readahead, "_step", lambda _: 512 << 10)
    for name, size in (("a", (1 << 20) + 5), ("b", 3)):
        (tmp_path / name).write_bytes(bytes(size))
    paths = [tmp_path / "a", tmp_path / "absent", tmp_path / "b"]
    half = 512 << 10
    assert read_everything(paths) == [("a", 0, half), ("a", half, half), ("a", 2 * half, 5), ("b", 0, 3)]
    monkeypatch.setenv("EKIBEN_READ_AHEAD", "Off")
    assert read_everything(paths) == []
    monkeypatch.delenv("EKIBEN_READ_AHEAD")
    monkeypatch.setattr(readahead, "_free_memory", lambda: 1 << 20)
    assert read_everything(paths) == []


def test_the_step_is_what_the_device_reads_at_once(tmp_path: Path) -> None:
    assert readahead.LEAST_STEP <= readahead._step(os.stat(tmp_path).st_dev) <= readahead.PART
    assert readahead._step(0) == readahead.LEAST_STEP
    assert readahead._free_memory() > 0
