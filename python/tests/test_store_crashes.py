"""Writers that are killed, and many at once: the store is whole each time."""

from __future__ import annotations

import fcntl
import itertools
import logging
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import bentoml
import pytest

from ekiben.stores.staging import PREFIX

FORK = multiprocessing.get_context("fork")

# Each round starts a writer and kills it at some moment of its work, within this many times what one save takes.
ROUNDS = 200
SAVES = 2.0


def save(tag: str, content: bytes) -> None:
    with bentoml.models.create(tag) as model:
        for number in range(5):
            Path(model.path_of(f"{number}.bin")).write_bytes(content)


def work(first: int, archive: str) -> None:
    """Save, delete and import, without end."""
    for number in itertools.count(first):
        save(f"m:{number:06}", b"x" * 10_000)
        if number % 3 == 0:
            bentoml.models.delete(f"m:{number:06}")
        if number % 4 == 0:
            bentoml.models.import_model(archive)
            bentoml.models.delete("imported:v1")


def check(caplog: pytest.LogCaptureFixture) -> None:
    """Every model is whole, and `latest` is the newest of each name."""
    caplog.clear()
    models = bentoml.models.list()
    assert caplog.records == []
    for model in models:
        files = sorted(path.name for path in Path(model.path).iterdir())
        assert files == ["0.bin", "1.bin", "2.bin", "3.bin", "4.bin", "model.yaml"]
        assert all(Path(model.path_of(f"{number}.bin")).stat().st_size == 10_000 for number in range(5))
    for name in {model.tag.name for model in models}:
        newest = max((model for model in models if model.tag.name == name), key=lambda model: model.creation_time)
        assert bentoml.models.get(name).tag == newest.tag


def test_a_writer_killed_at_any_moment_leaves_a_whole_store(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    save("imported:v1", b"x" * 10_000)
    archive = bentoml.models.export_model("imported", str(tmp_path))
    bentoml.models.delete("imported")
    started = time.monotonic()
    one = FORK.Process(target=save, args=("m:first", b"x" * 10_000))
    one.start()
    one.join()
    save_seconds = min(time.monotonic() - started, 0.08)  # a busy machine must not make the test endless
    moments = random.Random(7)
    killed = 0
    for number in range(ROUNDS):
        writer = FORK.Process(target=work, args=(number * 1000, archive))
        writer.start()
        time.sleep(moments.uniform(0.1, SAVES) * save_seconds)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join(timeout=30)
        killed += writer.exitcode == -signal.SIGKILL
        check(caplog)
        for leftover in bentoml.models.list("imported") if (home / "models/imported").is_dir() else []:
            bentoml.models.delete(leftover.tag)
    assert killed == ROUNDS
    # The next writer sweeps away what the killed ones have left.
    save("m:last", b"x" * 10_000)
    assert not [path.name for path in (home / "tmp").iterdir() if path.name.startswith(PREFIX)]
    assert len(bentoml.models.list("m")) > 2


def write_some(writer: int) -> None:
    for number in range(5):
        save(f"m:{writer:02}-{number}", b"x" * 10_000)
        if number % 2:
            bentoml.models.delete(f"m:{writer:02}-{number}")


def read_all(until: float) -> None:
    while time.monotonic() < until:
        for model in bentoml.models.list():
            assert model.tag.name == "m"


def test_sixteen_writers_and_readers(caplog: pytest.LogCaptureFixture) -> None:
    save("m:first", b"x" * 10_000)
    workers = [FORK.Process(target=write_some, args=(number,)) for number in range(12)]
    workers += [FORK.Process(target=read_all, args=(time.monotonic() + 2,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert [worker.exitcode for worker in workers] == [0] * 16
    check(caplog)
    assert len(bentoml.models.list("m")) == 1 + 12 * 3


def test_an_item_that_a_killed_process_was_replacing_is_put_back(home: Path) -> None:
    """The executable replaces in three renames where there is no exchange; see `src/store/stage.rs`."""
    save("m:other", b"")
    for kept, expected in ((True, b"old"), (False, None)):
        stage = home / "tmp/ekiben-staging-models-m-killed"
        spare = stage / "replaced/models/m/v1"
        spare.mkdir(parents=True)
        (spare / "weights.bin").write_bytes(b"old")
        if kept:  # else the new one had got its place, and was deleted since
            (stage / "content").mkdir()
        save(f"m:{kept}", b"")
        assert [path.name for path in (home / "tmp").iterdir()] == ["locks"]
        found = home / "models/m/v1/weights.bin"
        assert (found.read_bytes() if found.exists() else None) == expected
        shutil.rmtree(home / "models/m/v1", ignore_errors=True)


def test_what_killed_writers_left_is_swept_and_what_others_use_is_not(home: Path) -> None:
    """Both tools call their directories so, and lock the file `in-use` in them; see `src/store/stage.rs`."""
    scratch = home / "tmp"
    killed, unmarked, living, foreign = (
        scratch / name
        for name in ("ekiben-staging-bentos-b-x", "ekiben-staging-models-c-y", "ekiben-staging-models-d-z", "upstreams")
    )
    for folder in (killed, unmarked, living, foreign):
        (folder / "content").mkdir(parents=True)
    (killed / "in-use").touch()
    with open(living / "in-use", "w") as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)
        save("m:1", b"")
        assert sorted(path.name for path in scratch.iterdir()) == [living.name, "locks", "upstreams"]
    with bentoml.models.create("m:2") as model:
        stage = Path(model.path).parent
        assert (stage.parent, Path(model.path).name) == (scratch, "content")
        assert stage.name.startswith("ekiben-staging-models-m-")
        with open(stage / "in-use") as marker, pytest.raises(BlockingIOError):
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert sorted(path.name for path in scratch.iterdir()) == ["locks", "upstreams"]
    assert sorted(path.name for path in (scratch / "locks").iterdir()) == ["models--m.lock", "staging.lock"]


def test_the_pointer_is_there_before_the_model(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer killed between the two leaves a pointer to nothing, and the newest that is there is the latest."""
    from ekiben.stores import store

    save("m:1", b"")
    sync, pointers = store.move, []

    def move(source: Path, target: Path) -> None:
        pointers.append((home / "models/m/latest").read_text())
        assert str(bentoml.models.get("m").tag) == "m:1"
        sync(source, target)

    monkeypatch.setattr(store, "move", move)
    save("m:2", b"")
    assert pointers == ["2"]
    assert str(bentoml.models.get("m").tag) == "m:2"


def test_a_failed_move_takes_the_pointer_back(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ekiben.stores import store

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store, "move", full)
        with pytest.raises(OSError, match="No space left"):
            save("m:1", b"")
        assert list((home / "models").iterdir()) == []
    save("m:1", b"")
    with monkeypatch.context() as patch:
        patch.setattr(store, "move", full)
        with pytest.raises(OSError, match="No space left"):
            save("m:2", b"")
    assert (home / "models/m/latest").read_text() == "1"
    assert [path.name for path in (home / "tmp").iterdir()] == ["locks"]


def test_broken_items_are_named_with_their_reason(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    save("m:1", b"")
    (home / "models/m/link").symlink_to("1")
    for version, content in (("latin", b"name: m\xe9\n"), ("cycle", b"&a {name: m, version: v, metadata: *a}\n")):
        (home / "models/m" / version).mkdir()
        (home / "models/m" / version / "model.yaml").write_bytes(content)
    (home / "models/m/deep").mkdir()
    (home / "models/m/deep/model.yaml").write_text("[" * 5000)
    (home / "models/m/huge").mkdir()
    with (home / "models/m/huge/model.yaml").open("wb") as file:
        file.truncate(10 << 30)
    (home / "models/m/pipe").mkdir()
    os.mkfifo(home / "models/m/pipe/model.yaml")
    (home / "models/.Not A Name").mkdir()
    (home / "models/.Not A Name" / "x").mkdir()
    (home / "models/file").touch()
    models = bentoml.models.list()
    assert {str(model.tag) for model in models} == {"m:1"}
    reasons = {record.args[1].args[0].rpartition("models/")[2] for record in caplog.records if record.args}
    assert len(caplog.records) == 6, reasons
    assert "contains itself" in caplog.text
    assert "can't decode byte" in caplog.text
    assert "does not contain a 'model.yaml'" in caplog.text
    assert "it is larger than 16 MiB" in caplog.text
    assert "it is not a file" in caplog.text
    assert "nested too deeply" in caplog.text or "malformed" in caplog.text


def test_a_home_that_cannot_be_used_says_so(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "file"))
    assert bentoml.models.list() == []
    with pytest.raises(OSError, match="file"):
        save("m:1", b"")
