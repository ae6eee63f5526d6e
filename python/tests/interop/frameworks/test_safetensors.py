"""``load_file`` with torch, against the package's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers

import ekiben
from ekiben.safetensors import SafetensorsError, load_file

TYPES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64".split()
SAMPLE = {
    **{name: torch.arange(15).reshape(3, 5).to(getattr(torch, name)) for name in TYPES},
    "scalar": torch.tensor(7),
    "empty": torch.zeros((2, 0, 3)),
}


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(SAMPLE, path)
    return path


def encode(tensors: dict[str, tuple[str, list[int]]], data: bytes, sizes: list[int]) -> bytes:
    header, begin = {}, 0
    for (name, (dtype, shape)), size in zip(tensors.items(), sizes):
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, begin + size]}
        begin += size
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


@pytest.mark.parametrize("mmap", [True, False])
def test_every_type_is_what_the_package_loads(sample: Path, mmap: bool) -> None:
    found, expected = load_file(sample, "torch", mmap=mmap), safetensors.torch.load_file(sample)
    assert sorted(found) == sorted(expected)
    for name, tensor in expected.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found[name], tensor), name


def test_what_is_written_stays_in_the_process(sample: Path) -> None:
    before = sample.read_bytes()
    found = load_file(sample, framework="torch")
    found["float32"].add_(1)
    assert found["float32"].sum() == 120
    assert sample.read_bytes() == before


def test_tensors_outlive_what_loaded_them(sample: Path) -> None:
    script = """if True:
        import gc, sys, torch
        from ekiben.safetensors import load_file
        found = load_file(sys.argv[1], "torch")["int64"]
        gc.collect()
        print(int(found.sum()))
    """
    done = subprocess.run([sys.executable, "-c", script, sample], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("105\n", 0), done.stderr


def test_tensors_at_odd_places_are_copies(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(encode({"a": ("U8", [1]), "b": ("BF16", [2])}, b"\1\x80\x3f\x00\xc0", [1, 4]))
    found = load_file(path, "torch")
    assert found["b"].tolist() == [1.0, -2.0]
    assert found["b"].data_ptr() % 2 == 0


def test_types_of_other_releases(tmp_path: Path) -> None:
    path = tmp_path / "new.safetensors"
    path.write_bytes(encode({"a": ("F8_E4M3", [2]), "b": ("U16", [1]), "c": ("F4", [4])}, b"\x38\x40\1\0ab", [2, 2, 2]))
    with pytest.raises(SafetensorsError, match=rf"torch {torch.__version__} has no such type; pass `raw=True`"):
        load_file(path, "torch")
    found = load_file(path, "torch", raw=True)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"a": [56, 64], "b": [1], "c": [97, 98]}


def test_a_device(sample: Path) -> None:
    found = load_file(sample, "torch", device="meta")
    assert {tensor.device.type for tensor in found.values()} == {"meta"}


def test_a_checkpoint_that_transformers_made(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    model = transformers.BertModel(config)
    model.save_pretrained(tmp_path, safe_serialization=True, max_shard_size="4KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    found, expected = ekiben.safetensors.load_file(tmp_path, "torch"), model.state_dict()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
    assert len(found) > 20
