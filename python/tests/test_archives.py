"""Export and import: every format there and back, and hostile archives refused whole."""

from __future__ import annotations

import io
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Callable

import bentoml
import pytest
from bentoml.exceptions import BentoMLException, CLIException, MissingDependencyException

from ekiben.stores.archives import members, reading
from ekiben.stores.archives.xz import STREAM_SIZE, XzWriter

FORMATS = ("bentomodel", "gz", "xz", "bz2", "tar", "zip", "folder")
NEW_MODEL = "name: hostile\nversion: v1\nmodule: ''\nlabels: {}\noptions: {}\nmetadata: {}\n" + (
    "context:\n  framework_name: ''\n  framework_versions: {}\nsignatures: {}\napi_version: v1\n"
    "creation_time: '2026-01-01T00:00:00+00:00'\n"
)


def save(tag: str = "m:v1") -> bentoml.Model:
    with bentoml.models.create(tag, labels={"a": "b"}, custom_objects={"n": [1]}) as model:
        root = Path(model.path)
        (root / "sub" / "deep").mkdir(parents=True)
        (root / "sub" / "weights").write_bytes(b"w" * 100_000)
        (root / "sub" / "run.sh").write_text("#!/bin/sh\n")
        (root / "sub" / "run.sh").chmod(0o750)
        (root / "empty").mkdir()
    # Links in what is saved become files: an archive made elsewhere may still have some.
    os.symlink("sub/weights", Path(model.path) / "link")
    os.symlink("../..", Path(model.path) / "sub/deep/up")
    return model


def tree(root: str | Path) -> dict[str, tuple[str, int, str]]:
    """Return kind, mode and content of everything below a directory."""
    found = {}
    for path in sorted(Path(root).rglob("*")):
        mode = path.lstat().st_mode
        name = str(path.relative_to(root))
        if stat.S_ISLNK(mode):
            found[name] = ("link", 0, os.readlink(path))
        elif stat.S_ISDIR(mode):
            found[name] = ("directory", stat.S_IMODE(mode), "")
        else:
            found[name] = ("file", stat.S_IMODE(mode), path.read_bytes().hex())
    return found


def nothing_is_left(home: Path) -> bool:
    return [path.name for path in (home / "tmp").iterdir()] == ["locks"]


@pytest.mark.parametrize("name", FORMATS)
def test_there_and_back(name: str, home: Path, tmp_path: Path) -> None:
    model = save()
    before = tree(model.path)
    size = model.file_size
    exported = bentoml.models.export_model("m", str(tmp_path / "out"), name)
    assert exported == str(tmp_path / ("out.bentomodel" if name == "bentomodel" else "out"))
    bentoml.models.delete("m:v1")
    imported = bentoml.models.import_model(exported)
    assert (str(imported.tag), imported.custom_objects, imported.labels) == ("m:v1", {"n": [1]}, {"a": "b"})
    assert tree(imported.path) == before
    assert imported.file_size == size
    assert str(bentoml.models.get("m").tag) == "m:v1"
    assert nothing_is_left(home)


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2", "tar", "zip", "bentomodel"])
def test_the_name_tells_the_format_and_the_bytes_are_the_same_each_time(suffix: str, tmp_path: Path) -> None:
    save()
    first = Path(bentoml.models.export_model("m", str(tmp_path / f"a.{suffix}")))
    second = Path(bentoml.models.export_model("m", str(tmp_path / f"b.tar.{suffix}")))
    assert first.read_bytes() == second.read_bytes()
    magic = {"gz": b"\x1f\x8b", "bz2": b"BZh", "tar": b"././@Pax", "zip": b"PK"}
    expected = magic.get(suffix, b"\xfd7zXZ")
    assert first.read_bytes().startswith(expected) or suffix == "tar"
    assert stat.S_IMODE(first.stat().st_mode) == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_names_that_are_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save()
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path)
    assert bentoml.models.export_model("m", "") == f"{here}/m-v1.bentomodel"
    assert bentoml.models.export_model("m", here) == f"{here}/m-v1.bentomodel"
    assert bentoml.models.export_model("m", here, "gz") == f"{here}/m-v1.gz"
    assert bentoml.models.export_model("m", "x") == f"{here}/x.bentomodel"
    assert bentoml.models.export_model("m", "x.tgz") == f"{here}/x.tgz.bentomodel"
    assert bentoml.models.export_model("m", "file://" + here + "/y.gz") == f"{here}/y.gz"
    assert bentoml.models.export_model("m", "f/", "folder") == f"{here}/f"
    # A folder that exists gets the version's directory.
    assert bentoml.models.export_model("m", "f", "folder") == f"{here}/f/v1"
    with pytest.raises(BentoMLException, match="it exists already$"):
        bentoml.models.export_model("m", "f", "folder")
    with pytest.raises(BentoMLException, match="there is no directory"):
        bentoml.models.export_model("m", "no/such/m.gz")
    with pytest.raises(ValueError, match="^Unsupported format rar$"):
        bentoml.models.export_model("m", "x", "rar")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_failed_export_leaves_what_was_there(tmp_path: Path) -> None:
    model = save()
    target = tmp_path / "m.gz"
    target.write_text("before")
    os.mkfifo(Path(model.path) / "pipe")
    with pytest.raises(BentoMLException, match="`.*pipe`: it is neither a file, nor a directory, nor a link"):
        model.export(str(target))
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["m.gz"]
    assert target.read_text() == "before"


def test_links_out_of_a_model_become_files_in_the_archive(tmp_path: Path) -> None:
    model = save()
    (tmp_path / "elsewhere").write_text("contents")
    os.symlink(tmp_path / "elsewhere", Path(model.path) / "outside")
    exported = model.export(str(tmp_path / "m.tar"))
    with tarfile.open(exported) as archive:
        assert archive.extractfile("./outside").read() == b"contents"
        assert [member.name for member in archive][:2] == [".", "./custom_objects.pkl"]
        assert {(member.uid, member.uname) for member in archive} == {(0, "")}


def test_an_archive_of_an_existing_model_is_refused(tmp_path: Path) -> None:
    exported = save().export(str(tmp_path))
    with pytest.raises(BentoMLException, match="^Item 'm:v1' already exists in the store"):
        bentoml.models.import_model(exported)


def test_the_content_tells_the_format_not_the_name(tmp_path: Path) -> None:
    exported = Path(save().export(str(tmp_path / "m.tar.gz")))
    exported.rename(tmp_path / "m.tgz")
    bentoml.models.delete("m")
    assert str(bentoml.models.import_model(str(tmp_path / "m.tgz")).tag) == "m:v1"


# Hostile archives: each returns a file, given a directory.


def tar_of(*entries: tuple[str, dict[str, Any]], compress: Callable[[bytes], bytes] = lzma.compress) -> bytes:
    """Return a tar of a good model and these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, fields in [("./model.yaml", {"data": NEW_MODEL.encode()}), *entries]:
            data = fields.pop("data", None)
            member = tarfile.TarInfo(name)
            for key, value in fields.items():
                setattr(member, key, value)
            if data is not None:
                member.size = len(data)
            archive.addfile(member, io.BytesIO(data) if data is not None else None)
    return compress(buffer.getvalue())


LINK = {"type": tarfile.SYMTYPE}
HOSTILE = {
    "traversal": ([("../evil", {"data": b"x"})], "`../evil` is a path out of the archive"),
    "traversal further in": ([("a/../../evil", {"data": b"x"})], "is a path out of the archive"),
    "absolute": ([("/tmp/evil", {"data": b"x"})], "`/tmp/evil` is an absolute path"),
    "link out": ([("l", {**LINK, "linkname": "../../etc"})], "`l` is a link to `../../etc`, outside of the archive"),
    "absolute link": ([("l", {**LINK, "linkname": "/etc/passwd"})], "`l` is a link to `/etc/passwd`, outside"),
    "link out through a link": (
        [
            ("a/b", {"type": tarfile.DIRTYPE}),
            ("a/b/up", {**LINK, "linkname": "../.."}),
            ("a/b/l", {**LINK, "linkname": "up/../x"}),
        ],
        "`a/b/l` is a link to `up/../x`, outside of the archive",
    ),
    "through a link": (
        [("l", {**LINK, "linkname": "."}), ("l/x", {"data": b"x"})],
        "`l/x` is below `l`, which is no directory",
    ),
    "below a file": ([("f", {"data": b"x"}), ("f/x", {"data": b"x"})], "`f/x` is below `f`, which is no directory"),
    "twice": ([("f", {"data": b"x"}), ("./f", {"data": b"y"})], "`./f` is in it twice"),
    "a file, then a link": ([("f", {"data": b"x"}), ("f", {**LINK, "linkname": "x"})], "`f` is in it twice"),
    "a link to nothing as description": ([("./model.yaml", {**LINK, "linkname": "x"})], "is in it twice"),
    "device": ([("d", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})], "`d` is neither a file, nor a"),
    "pipe": ([("p", {"type": tarfile.FIFOTYPE})], "`p` is neither a file, nor a directory, nor a link"),
    "hard link": ([("h", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"})], "`h` is a hard link"),
    "a link in a circle": ([("l", {**LINK, "linkname": "l"})], "`l` is a link that leads nowhere"),
    "a directory twice": (
        [("d", {"type": tarfile.DIRTYPE}), ("d", {"type": tarfile.DIRTYPE})],
        "`d` is in it twice",
    ),
    "no UTF-8": ([("\udcff", {"data": b"x"})], "is a name that no file can have"),
}


def refused(home: Path, archive: Path, why: str) -> None:
    outside = tree(archive.parent)
    with pytest.raises(BentoMLException, match=re.escape(why)) as raised:
        bentoml.models.import_model(str(archive))
    assert str(archive) in str(raised.value)
    assert not (home / "models").exists() or list((home / "models").iterdir()) == []
    assert nothing_is_left(home)
    after = tree(archive.parent)
    assert {key: value for key, value in after.items() if not key.startswith("home")} == {
        key: value for key, value in outside.items() if not key.startswith("home")
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tar_is_refused_whole(name: str, home: Path, tmp_path: Path) -> None:
    entries, why = HOSTILE[name]
    archive = tmp_path / "hostile.bentomodel"
    archive.write_bytes(tar_of(*[(member, dict(fields)) for member, fields in entries]))
    refused(home, archive, why)


def test_a_harmless_tar_of_the_same_making_is_taken(home: Path, tmp_path: Path) -> None:
    archive = tmp_path / "good.bentomodel"
    entries = [
        ("a/f", {"data": b"x", "mode": 0o6755}),
        ("h", {"data": b"x", "mtime": 1_700_000_000}),
        ("l", {**LINK, "linkname": "a/../h"}),
        ("d", {**LINK, "linkname": "nothing/yet"}),
        ("a", {"type": tarfile.DIRTYPE, "mode": 0o500, "mtime": 1_600_000_000}),
    ]
    archive.write_bytes(tar_of(*entries))
    model = bentoml.models.import_model(str(archive))
    found = tree(model.path)
    # The bits that give rights away are dropped, and the store can delete what it has.
    assert (found["a"], found["a/f"][1], found["l"]) == (("directory", 0o700, ""), 0o755, ("link", 0, "a/../h"))
    times = [Path(model.path_of(name)).stat().st_mtime for name in ("h", "a")]
    assert times == [1_700_000_000, 1_600_000_000]


def zip_of(path: Path, *entries: tuple[str, int, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.yaml", NEW_MODEL)
        for name, mode, data in entries:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr, info.compress_type = 3, mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, data)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (("../evil", stat.S_IFREG | 0o644, b"x"), "`../evil` is a path out of the archive"),
        (("/evil", stat.S_IFREG | 0o644, b"x"), "`/evil` is an absolute path"),
        (("l", stat.S_IFLNK | 0o777, b"/etc"), "`l` is a link to `/etc`, outside of the archive"),
        (("p", stat.S_IFIFO | 0o644, b""), "`p` is neither a file, nor a directory, nor a link"),
    ],
)
def test_a_hostile_zip_is_refused_whole(entry: tuple[str, int, bytes], why: str, home: Path, tmp_path: Path) -> None:
    zip_of(tmp_path / "hostile.zip", entry)
    refused(home, tmp_path / "hostile.zip", why)


@pytest.mark.parametrize("suffix", ["bentomodel", "gz", "bz2", "tar", "zip"])
def test_an_archive_cut_short_anywhere_is_refused_whole(suffix: str, home: Path, tmp_path: Path) -> None:
    whole = Path(save().export(str(tmp_path / f"whole.{suffix}"))).read_bytes()
    bentoml.models.delete("m")
    archive = tmp_path / "cut"
    # What a tar has at its end is padding to the size of a tape's record.
    end = len(whole.rstrip(b"\0")) if suffix == "tar" else len(whole)
    for length in {0, 1, 7, end // 4, end // 2, end - 1}:
        archive.write_bytes(whole[:length])
        with pytest.raises(BentoMLException):
            bentoml.models.import_model(str(archive))
        assert bentoml.models.list() == []
        assert nothing_is_left(home)


@pytest.mark.parametrize("suffix", ["bentomodel", "gz", "bz2", "zip"])
def test_a_changed_byte_is_noticed(suffix: str, home: Path, tmp_path: Path) -> None:
    whole = bytearray(Path(save().export(str(tmp_path / f"whole.{suffix}"))).read_bytes())
    bentoml.models.delete("m")
    changed = len(whole) // 3
    if suffix == "zip":  # only the content of its members has checksums
        with zipfile.ZipFile(io.BytesIO(whole)) as good:
            changed = good.getinfo("sub/weights").header_offset + 100
    whole[changed] ^= 0xFF
    archive = tmp_path / "changed"
    archive.write_bytes(whole)
    with pytest.raises(BentoMLException, match="cannot unpack"):
        bentoml.models.import_model(str(archive))
    assert nothing_is_left(home)


def test_damage_after_the_first_member_is_not_the_end(home: Path, tmp_path: Path) -> None:
    content = bytearray(tar_of(("big", {"data": b"x" * 5000}), ("last", {"data": b"y"}), compress=bytes))
    at = content.index(b"last")
    content[at : at + 4] = b"LAST"  # the checksum of this header is wrong now
    archive = tmp_path / "damaged.tar"
    archive.write_bytes(content)
    refused(home, archive, "it is damaged or cut short")


def test_bombs_are_refused(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_UNSUSPICIOUS", 100_000)
    monkeypatch.setattr(members, "MAX_RATIO", 100)
    archive = tmp_path / "bomb.bentomodel"
    archive.write_bytes(tar_of(("zeros", {"data": bytes(2_000_000)})))
    refused(home, archive, "it unpacks to far more than its size")
    zip_of(tmp_path / "bomb.zip", ("zeros", stat.S_IFREG | 0o644, bytes(2_000_000)))
    refused(home, tmp_path / "bomb.zip", "it unpacks to far more than its size")


def test_what_does_not_fit_on_the_disk_is_refused(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "large.tar"
    archive.write_bytes(tar_of(("f", {"data": bytes(2_000_000)}), compress=bytes))
    usage = shutil.disk_usage(tmp_path)._replace(free=members.RESERVE + 1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    refused(home, archive, "it unpacks to more than what is free on the disk")


def test_a_time_that_no_file_can_have_is_refused(home: Path, tmp_path: Path) -> None:
    archive = tmp_path / "time.bentomodel"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as made:
        member = tarfile.TarInfo("f")
        member.pax_headers = {"mtime": "1" + "0" * 30}
        made.addfile(member)
    archive.write_bytes(buffer.getvalue())
    refused(home, archive, "cannot unpack")


def test_too_many_members_are_refused(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_MEMBERS", 20)
    archive = tmp_path / "many.bentomodel"
    archive.write_bytes(tar_of(*[(f"f{number}", {"data": b""}) for number in range(30)]))
    refused(home, archive, "it has more than 20 members")


def test_a_header_that_would_fill_the_memory_is_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_HEADER", 1000)
    archive = tmp_path / "header.bentomodel"
    archive.write_bytes(tar_of(("n" * 5000, {"data": b"x"})))
    refused(home, archive, "a header of 5")


def test_what_follows_the_end_is_refused(home: Path, tmp_path: Path) -> None:
    archive = tmp_path / "more.bentomodel"
    archive.write_bytes(tar_of(compress=lambda content: lzma.compress(content + bytes(2_000_000))))
    refused(home, archive, "more follows the end of the tar")


def test_an_archive_of_something_else_says_so(home: Path, tmp_path: Path) -> None:
    for name, content, why in (
        ("text", b"not an archive at all", "cannot unpack"),
        ("empty.tar", tar_without_description(), "does not contain a 'model.yaml'"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BentoMLException, match=why):
            bentoml.models.import_model(str(tmp_path / name))
    with pytest.raises(BentoMLException, match="there is no `/no/such/file`"):
        bentoml.models.import_model("/no/such/file")
    assert nothing_is_left(home)


def tar_without_description() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("inner/model.yaml"), io.BytesIO())
    return buffer.getvalue()


# Bentos carry their models.


def bento(home: Path, *models: str, tag: str = "b:v1") -> Path:
    name, version = tag.split(":")
    folder = home / "bentos" / name / version
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "service.py").write_text("pass\n")
    pinned = "".join(
        f"\n- tag: {model}\n  module: ''\n  creation_time: '2026-01-01T00:00:00+00:00'" for model in models
    )
    (folder / "bento.yaml").write_text(
        f"service: service:S\nname: {name}\nversion: {version}\nbentoml_version: 1.4.39\n"
        f"creation_time: '2026-01-01T00:00:00+00:00'\nlabels:\n  k: v\nmodels:{pinned or ' []'}\n"
        "entry_service: S\nservices:\n- name: S\n  service: ''\n  models:\n"
        "  - tag: hub--model:abc\n    module: ''\n    creation_time: '2026-01-01T00:00:00+00:00'\n"
        "    registry: huggingface\n  dependencies: []\n  config: {}\nenvs: []\nschema: {}\nargs: {}\nspec: 2\n"
    )
    return folder


@pytest.mark.parametrize("name", ["bento", "zip", "folder"])
def test_a_bento_takes_its_models_along(name: str, home: Path, tmp_path: Path) -> None:
    save("m:v1")
    save("m:v2")
    save("other:v1")
    before = tree(bento(home, "m:v1", "m:v2"))
    exported = bentoml.export_bento("b", str(tmp_path / "out.zip" if name == "zip" else tmp_path / "out"), name)
    assert Path(exported).exists()
    for tag in ("m", "other"):
        bentoml.models.delete(tag)
    bentoml.delete("b:v1")
    imported = bentoml.import_bento(exported)
    assert (str(imported), imported.info.labels) == ('Bento(tag="b:v1")', {"k": "v"})
    assert tree(imported.path) == before
    assert [str(model.tag) for model in bentoml.models.list()] == ["m:v1", "m:v2"]
    assert [str(found.tag) for found in bentoml.list()] == ["b:v1"]
    assert str(bentoml.get("b:latest").tag) == "b:v1"
    assert nothing_is_left(home)


def test_models_that_are_there_are_kept(home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save("m:v1")
    bento(home, "m:v1")
    exported = bentoml.export_bento("b", str(tmp_path))
    assert exported == str(tmp_path / "b-v1.bento")
    bentoml.delete("b")
    bentoml.import_bento(exported)
    assert "Model m:v1 already exists in the global model store, skipping copy." in caplog.text
    with pytest.raises(BentoMLException, match="^Item 'b:v1' already exists in the store .*/bentos$"):
        bentoml.import_bento(exported)


def test_a_bento_without_its_model_is_not_exported(home: Path, tmp_path: Path) -> None:
    bento(home, "gone:v1")
    with pytest.raises(BentoMLException, match="cannot export `b:v1` without its model `gone:v1`"):
        bentoml.export_bento("b", str(tmp_path / "b"))
    assert not (tmp_path / "b.bento").exists()


def test_the_wrong_kind_says_so(home: Path, tmp_path: Path) -> None:
    exported = save().export(str(tmp_path))
    with pytest.raises(BentoMLException, match="it holds a model, not a bento: it has a 'model.yaml'"):
        bentoml.import_bento(exported)
    bento(home)
    with pytest.raises(BentoMLException, match="it holds a bento, not a model"):
        bentoml.models.import_model(bentoml.export_bento("b", str(tmp_path)))


# What is left to the executable.


@pytest.fixture
def executable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that notes its arguments, and answers as `ekiben` does or with the file `fail`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "ekiben"
    script.write_text(
        f"""#!/bin/sh
printf '%s\\n' "$*" >> {folder}/calls
if [ -e {folder}/fail ]; then cat {folder}/fail >&2; exit 3; fi
case "$*" in
*export*) echo '{{"tag": "m:v1", "path": "bucket/prefix/m-v1.bentomodel"}}' ;;
*import* | *pull*) echo '{{"tag": "m:v1", "path": "somewhere", "models": []}}' ;;
esac
"""
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_urls_pushes_and_pulls_are_left_to_the_executable(executable: Path, home: Path) -> None:
    save()
    assert bentoml.models.export_model("m", "s3://bucket/prefix/") == "bucket/prefix/m-v1.bentomodel"
    assert str(bentoml.models.import_model("s3://bucket/m.bentomodel").tag) == "m:v1"
    parts = {"protocol": "ftp", "user": "me", "passwd": "s/cret", "params": {"a": "1"}, "subpath": "x/m.zip"}
    bentoml.models.export_model("m", "host", "gz", **parts)
    bentoml.models.import_model("bucket/x.zst", protocol="s3")
    bentoml.models.push("m", force=True)
    bentoml.models.pull("m:v1")
    bentoml.models.push("m:latest", "docker://host/m:v1")
    assert str(bentoml.models.pull("docker://host/m:v1").tag) == "m:v1"
    bento(home)
    bentoml.push("b")
    bentoml.pull("b:v1", force=True)
    assert (executable / "calls").read_text().splitlines() == [
        "models export m:v1 s3://bucket/prefix/ -o json",
        "models import s3://bucket/m.bentomodel -o json",
        "models export m:v1 ftp://me:s%2Fcret@host/x/m.zip?a=1 --format gz -o json",
        "models import s3://bucket/x.zst -o json",
        "models push m:v1 --force",
        "models pull m:v1",
        "models push m:v1 docker://host/m:v1",
        "models pull docker://host/m:v1 -o json",
        "push b:v1",
        "pull b:v1 --force",
    ]


def test_zst_is_left_to_the_executable(executable: Path, tmp_path: Path) -> None:
    save()
    bentoml.models.export_model("m", str(tmp_path / "m.zst"))
    (tmp_path / "m.any").write_bytes(b"\x28\xb5\x2f\xfd and so on")
    bentoml.models.import_model(str(tmp_path / "m.any"))
    assert (executable / "calls").read_text().splitlines() == [
        f"models export m:v1 {tmp_path}/m.zst --format zst -o json",
        f"models import {tmp_path}/m.any -o json",
    ]


def test_its_errors_are_told_without_passwords(executable: Path) -> None:
    save()
    (executable / "fail").write_text("error: cannot write `ftp://me:secret@host/x`\n")
    with pytest.raises(
        CLIException, match=r"^cannot export `m:v1` to `ftp://host/x/`: .*`ftp://\*\*\*@host/x`$"
    ) as raised:
        bentoml.models.export_model("m", "ftp://me:secret@host/x/")
    assert "secret" not in str(raised.value)


def test_without_the_executable_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    save()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        MissingDependencyException, match="^cannot push `m:v1`: .* `ekiben` executable.*`cargo install ekiben`"
    ):
        bentoml.models.push("m")


def test_a_url_and_its_parts_do_not_go_together() -> None:
    save()
    with pytest.raises(ValueError, match="given as user, params$"):
        bentoml.models.export_model("m", "s3://bucket/x", user="me", params={})


def test_xz_is_joined_streams_in_order() -> None:
    buffer = io.BytesIO()
    content = os.urandom(1000) * (STREAM_SIZE // 1000 + 1) + b"and a second stream"
    with XzWriter(buffer, threads=2) as writer:
        for start in range(0, len(content), 7_000_000):
            writer.write(content[start : start + 7_000_000])
    assert len(content) > STREAM_SIZE
    assert lzma.decompress(buffer.getvalue()) == content
