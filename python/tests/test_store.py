"""The model store: what is written, what is found, and that nothing half-done is left."""

from __future__ import annotations

import datetime
import fcntl
import importlib
import multiprocessing
import os
import re
from pathlib import Path

import bentoml
import pytest
from bentoml.exceptions import BentoMLException, NotFound

from ekiben.models.store import ModelStore


def save(name: str = "m", content: str = "x", **options: object) -> bentoml.Model:
    with bentoml.models.create(name, **options) as model:
        Path(model.path_of("f.txt")).write_text(content)
    return model


def everything(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*") if "locks" not in path.parts}


def test_model_yaml_byte_for_byte() -> None:
    model = save(
        "my_model:v1",
        labels={"owner": "nlp_team", "n": "3", "empty": ""},
        metadata={
            "acc": 0.95,
            "list": [1, {"k": "yes"}],
            "nothing": {},
            "when": datetime.date(2024, 5, 6),
            "at": datetime.datetime(2024, 5, 6, 7, 8, 9),
            "pair": (1, 2),
            "héllo": "h\xe9llo",
            "raw": b"ab",
            "small": 1e-7,
        },
        signatures={"predict": {"batchable": True, "batch_dim": 1}, "other": {"batchable": False, "batch_dim": 1}},
        options={"partial_kwargs": {}},
    )
    text = Path(model.path_of("model.yaml")).read_text()
    created = re.search("creation_time: '(.*)'", text)[1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", created)
    import platform

    assert text == (
        "name: my_model\nversion: v1\nmodule: ''\nlabels:\n  owner: nlp_team\n  n: '3'\n  empty: ''\n"
        "options:\n  partial_kwargs: {}\nmetadata:\n  acc: 0.95\n  list:\n  - 1\n  - k: 'yes'\n  nothing: {}\n"
        "  when: 2024-05-06\n  at: '2024-05-06T07:08:09'\n  pair:\n  - 1\n  - 2\n"
        '  "h\\xE9llo": "h\\xE9llo"\n  raw: !!binary |\n    YWI=\n  small: 1.0e-07\n'
        f"context:\n  framework_name: ''\n  framework_versions: {{}}\n  bentoml_version: 1.4.39\n"
        f"  python_version: {platform.python_version()}\n"
        "signatures:\n  predict:\n    batchable: true\n    batch_dim:\n    - 1\n    - 1\n"
        "  other:\n    batchable: false\n"
        f"api_version: v1\ncreation_time: '{created}'\n"
    )


def test_what_is_written_is_read_back() -> None:
    saved = save("m:1", labels={"a": "b"}, metadata={"k": [1, 2.5]}, custom_objects={"f": len, "n": 7})
    model = bentoml.models.get("m:1")
    assert model == saved
    assert (model.info.labels, model.info.metadata) == ({"a": "b"}, {"k": [1, 2.5]})
    assert model.custom_objects == {"f": len, "n": 7}
    assert model.creation_time == saved.creation_time
    assert Path(model.path_of("/f.txt")).read_text() == "x"
    assert model.file_size == sum(path.stat().st_size for path in Path(model.path).iterdir())


def test_path_is_in_the_store_after_the_block(home: Path) -> None:
    with bentoml.models.create("m:1") as model:
        assert Path(model.path).parent.parent == home / "tmp"
    assert model.path == str(home / "models" / "m" / "1")
    assert everything(home) == {"tmp", "models", "models/m", "models/m/1", "models/m/1/model.yaml", "models/m/latest"}
    assert (home / "models" / "m" / "latest").read_bytes() == b"1"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_stores_nothing(home: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), bentoml.models.create("m") as model:
        Path(model.path_of("big")).write_bytes(b"x" * 1000)
        raise error
    assert everything(home) <= {"tmp", "models"}


def test_values_that_cannot_be_written_store_nothing(home: Path) -> None:
    with pytest.raises(ValueError, match="a value of type `complex` cannot be written to model.yaml"):
        save("m", metadata={"z": 1j})
    assert everything(home) <= {"tmp", "models"}


def test_an_existing_version_is_refused_and_kept() -> None:
    save("m:1", "first")
    with pytest.raises(BentoMLException, match=r"^Item 'm:1' already exists in the store .*/models$"):
        save("m:1", "second")
    assert Path(bentoml.models.get("m:1").path_of("f.txt")).read_text() == "first"


def test_version_latest_is_refused(home: Path) -> None:
    with pytest.raises(BentoMLException, match="`latest` is not a version"):
        save("m:latest")
    assert not (home / "models").exists()


def test_links_are_replaced_by_what_they_point_to(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "weights").write_text("w")
    with bentoml.models.create("m:1") as model:
        os.symlink(tmp_path / "outside" / "weights", model.path_of("weights"))
        os.symlink(tmp_path / "outside", model.path_of("folder"))
    stored = Path(bentoml.models.get("m:1").path)
    assert not any(path.is_symlink() for path in stored.rglob("*"))
    assert ((stored / "weights").read_text(), (stored / "folder" / "weights").read_text()) == ("w", "w")
    with (
        pytest.raises(BentoMLException, match="`gone`: it is a link to nothing"),
        bentoml.models.create("m:2") as model,
    ):
        os.symlink(tmp_path / "nothing", model.path_of("gone"))


def test_lookup_by_latest_prefix_and_exact_version() -> None:
    save("m:abc1", "old")
    save("m:abd2", "new")
    assert str(bentoml.models.get("m").tag) == str(bentoml.models.get("m:latest").tag) == "m:abd2"
    assert str(bentoml.models.get("m:abc").tag) == "m:abc1"
    with pytest.raises(BentoMLException, match="^Multiple m versions found: abc1, abd2$"):
        bentoml.models.get("m:ab")
    with pytest.raises(NotFound, match="^Model 'm:zz' is not found in BentoML store .*, you may need to run"):
        bentoml.models.get("m:zz")
    with pytest.raises(NotFound, match="^no Models with name 'other' exist in BentoML store"):
        bentoml.models.get("other")


def test_a_pointer_that_leads_nowhere_is_not_followed(home: Path) -> None:
    """A writer that is killed leaves one; no reader repairs it, because it could undo what a writer has just done."""
    save("m:1")
    save("m:2")
    pointer = home / "models" / "m" / "latest"
    for content in (b"gone", b"", b"latest", b"../m/1", b"\xff\xfe"):
        pointer.write_bytes(content)
        assert str(bentoml.models.get("m").tag) == "m:2"
        assert pointer.read_bytes() == content
    pointer.unlink()
    assert str(bentoml.models.get("m").tag) == "m:2"
    save("m:3")
    assert pointer.read_bytes() == b"3"


def test_an_older_model_does_not_become_latest(home: Path) -> None:
    import yaml

    save("m:new")
    info = home / "models" / "m" / "new" / "model.yaml"
    data = yaml.safe_load(info.read_text())
    info.write_text(yaml.safe_dump({**data, "creation_time": "2999-01-01T00:00:00+00:00"}, sort_keys=False))
    save("m:older")
    assert str(bentoml.models.get("m").tag) == "m:new"


def test_list() -> None:
    for tag in ("b:1", "a:2", "a:10"):
        save(tag)
    assert [str(model.tag) for model in bentoml.models.list()] == ["a:10", "a:2", "b:1"]
    assert [str(model.tag) for model in bentoml.models.list("a")] == ["a:10", "a:2"]
    assert [str(model.tag) for model in bentoml.models.list("a:2")] == ["a:2"]
    assert bentoml.models.list("a:3") == []
    with pytest.raises(NotFound, match="^no Models with name 'c' found$"):
        bentoml.models.list("c")


def test_an_empty_home_lists_nothing() -> None:
    assert bentoml.models.list() == []


def test_delete(home: Path) -> None:
    for tag in ("m:1", "m:2", "n:1"):
        save(tag)
    bentoml.models.delete("m:2")
    assert str(bentoml.models.get("m").tag) == "m:1"
    with pytest.raises(NotFound, match="^Model 'm:2' not found$"):
        bentoml.models.delete("m:2")
    bentoml.models.delete("m:latest")
    assert not (home / "models" / "m").exists()
    bentoml.models.delete("n")
    assert everything(home) == {"tmp", "models"}


def test_labels(caplog: pytest.LogCaptureFixture) -> None:
    assert save("m:1", labels={"a": True}).info.labels == {"a": "True"}
    assert "Converting all values to string" in caplog.text
    with pytest.raises(ValueError, match="^label keys must be strings$"):
        save("m:2", labels={1: "x"})


def test_metadata() -> None:
    import numpy as np

    model = save("m:1", metadata={"array": np.arange(3), "scalar": np.float32(0.5), "nested": {"t": (np.int64(1),)}})
    assert bentoml.models.get("m:1").info.metadata == {"array": [0, 1, 2], "scalar": 0.5, "nested": {"t": [1]}}
    assert type(model.info.metadata["scalar"]) is float
    with pytest.raises(ValueError, match="got 'set'$"):
        save("m:2", metadata={"s": {1}})
    with pytest.raises(ValueError, match="^metadata keys must be strings$"):
        save("m:2", metadata={(1,): 1})
    with pytest.raises(ValueError, match="got 'NoneType'$"):
        save("m:2", metadata={"n": None})


def test_metadata_from_pandas() -> None:
    pd = importlib.import_module("pandas")
    model = save(
        "m:1",
        metadata={
            "frame": pd.DataFrame({"a": [1, 2]}),
            "series": pd.Series([1], name="s"),
            "at": pd.Timestamp("2024-05-06"),
        },
    )
    assert model.info.metadata == {
        "frame": {"a": {0: 1, 1: 2}},
        "series": {"s": {0: 1}},
        "at": datetime.datetime(2024, 5, 6),
    }


def test_the_callers_mappings_are_not_changed() -> None:
    labels, metadata = {"a": 1}, {"t": (1, [2])}
    save("m:1", labels=labels, metadata=metadata)
    assert (labels, metadata) == ({"a": 1}, {"t": (1, [2])})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "it is not a mapping"),
        ("name: [", "malformed model.yaml"),
        ("name: m\nversion: '1'\n", "no key 'creation_time'"),
    ],
)
def test_a_malformed_description_names_the_file(home: Path, text: str, problem: str) -> None:
    save("m:1")
    file = home / "models" / "m" / "1" / "model.yaml"
    file.write_text(text)
    with pytest.raises(BentoMLException, match=problem) as raised:
        bentoml.models.get("m:1")
    assert str(file) in str(raised.value)


def test_old_forms_are_read(home: Path) -> None:
    folder = home / "models" / "old" / "1"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(
        "name: old\nversion: '1'\nbentoml_version: 1.0.0a7\nmodule: bentoml.sklearn\nlabels: {}\noptions: {}\n"
        "metadata: {}\ncontext:\n  framework_name: sklearn\n  pip_dependencies: [scikit-learn==1.0]\n"
        "api_version: v1\ncreation_time: 2022-01-02 03:04:05\nunknown: 1\n"
    )
    info = bentoml.models.get("old:1").info
    assert info.context.framework_versions == {}
    assert info.signatures == {}
    assert info.creation_time == datetime.datetime(2022, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)


def test_home_expands_user_and_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ekiben.stores.home import bentoml_home

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("INNER", "~/deep")
    monkeypatch.setenv("BENTOML_HOME", "$INNER/store")
    assert bentoml_home() == tmp_path / "deep" / "store"
    monkeypatch.delenv("BENTOML_HOME")
    assert bentoml_home() == tmp_path / "bentoml"


def test_registering_waits_for_the_lock_of_the_name(home: Path) -> None:
    """The lock file is shared with other tools: `$BENTOML_HOME/tmp/locks/models--NAME.lock`, exclusive `flock`."""
    locks = home / "tmp" / "locks"
    locks.mkdir(parents=True)
    with open(locks / "models--m.lock", "a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        writer = multiprocessing.get_context("fork").Process(target=save, args=("m:1",))
        writer.start()
        writer.join(timeout=0.5)
        assert writer.is_alive()
        assert not (home / "models" / "m" / "1").exists()
        fcntl.flock(held, fcntl.LOCK_UN)  # closing would not do: the forked writer holds the same open file
    writer.join(timeout=30)
    assert writer.exitcode == 0
    assert bentoml.models.list("m:1")


def test_writers_at_once_leave_one_whole_version(home: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=save, args=("m:1", str(number) * 100_000)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    assert sorted(writer.exitcode for writer in writers) == [0, 1, 1, 1]
    content = Path(bentoml.models.get("m:1").path_of("f.txt")).read_text()
    assert len(content) == 100_000
    assert len(set(content)) == 1


def test_a_store_on_another_file_system_is_written_by_copy(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target).parent.name == "m":
            raise OSError(errno.EXDEV, "cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "rename", replace)
    save("m:1")
    assert str(bentoml.models.get("m").tag) == "m:1"


def test_a_runner_needs_a_module_that_makes_one() -> None:
    with pytest.raises(BentoMLException, match="^Module is not defined in model.yaml of `m:1`"):
        save("m:1").to_runner()
    with bentoml.models.create("m:2", module="json") as model:
        pass
    with pytest.raises(BentoMLException, match="runner of model `m:2`: module `json` has no `get_runnable`$"):
        model.to_runner()


def test_a_store_can_be_used_on_its_own(tmp_path: Path) -> None:
    save("m:1")
    store = ModelStore(tmp_path / "home" / "models", staging=tmp_path / "staging")
    assert [str(model.tag) for model in store.list()] == ["m:1"]
