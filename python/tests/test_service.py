"""Services, APIs and hooks as objects: what decorators accept, refuse and make; calls inside the process."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import types
import typing as t
from pathlib import Path
from typing import Annotated

import bentoml
import numpy as np
import pytest
from bentoml.exceptions import BentoMLException, ImportServiceError, NotFound
from bentoml.validators import ContentType, DataframeSchema, DType, Shape
from pydantic import BaseModel, Field

from ekiben.services.hooks import SHUTDOWN, STARTUP, find_hooks
from ekiben.services.loader import import_service
from ekiben.unsupported import NotSupportedYet
from ekiben.worker.description import apply_envs, describe_frame


@bentoml.service(name="Adder", traffic={"timeout": 5}, path_prefix="v2/", threads=2, labels={"a": "b"})
class Adder:
    """Adds."""

    factor = 10

    @bentoml.api
    def add(self, a: int, b: int = Field(default=2)) -> int:
        return self.factor * (a + b)

    @bentoml.api
    async def later(self, a: int) -> int:
        await asyncio.sleep(0)
        return self.add(a)

    @bentoml.api
    def count(self, n: int) -> t.Iterator[int]:
        yield from range(n)

    @bentoml.api
    async def count_later(self, n: int) -> t.AsyncIterator[int]:
        for i in range(n):
            yield i

    def helper(self) -> str:
        return "not an API"


def test_service_object() -> None:
    assert (Adder.name, Adder.path_prefix, Adder.labels) == ("Adder", "/v2", {"a": "b"})
    assert Adder.config == {"traffic": {"timeout": 5}, "threads": 2}
    assert list(Adder.apis) == ["add", "count", "count_later", "later"]
    assert Adder.inner.factor == 10
    assert Adder.apis["add"].route == "/add"
    assert Adder.import_string == f"{__name__}:Adder"


def test_both_forms_of_the_decorators() -> None:
    @bentoml.service
    class Plain:
        @bentoml.api()
        def f(self) -> None: ...

    assert Plain.name == "Plain"
    assert Plain.apis["f"].name == "f"
    with pytest.raises(TypeError, match="can only be applied once"):
        bentoml.service(Plain)


def test_calls_inside_the_process() -> None:
    adder = Adder()
    assert adder.add(1) == 30
    assert adder.add(1, b=0) == 10
    assert adder.helper() == "not an API"
    assert asyncio.run(adder.later(1)) == 30
    assert list(adder.count(3)) == [0, 1, 2]
    assert adder.bento_service is Adder
    assert adder.add.local(1) == 30


def test_the_other_calling_style() -> None:
    adder = Adder()
    assert adder.to_sync.later(1) == 30
    assert adder.to_sync.add(1) == 30
    assert list(adder.to_sync.count_later(3)) == [0, 1, 2]

    async def run() -> tuple[int, list[int], list[int]]:
        return (
            await adder.to_async.add(1),
            [item async for item in adder.to_async.count(2)],
            [item async for item in adder.to_async.count_later(2)],
        )

    assert asyncio.run(run()) == (30, [0, 1], [0, 1])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"route": "x"}, "route must start with a leading slash"),
        ({"max_batch_size": 0}, "max_batch_size must be at least 1"),
        ({"input_spec": int}, "is not a valid IODescriptor accepted type"),
        ({"output_spec": 5}, "must be a class type"),
    ],
)
def test_bad_api_options(options: dict[str, t.Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):

        @bentoml.api(**options)
        def f(self) -> None: ...


def test_bad_api_names_and_tasks() -> None:
    with pytest.raises(ValueError, match="API methods cannot start with '__'"):

        @bentoml.api
        def __call__(self) -> None: ...

    with pytest.raises(ValueError, match="Async task cannot return a stream"):

        @bentoml.task
        def g(self) -> t.Iterator[str]:
            yield ""


def test_batch_dim_of_one_number_is_both() -> None:
    assert bentoml.api(batch_dim=1)(Adder.apis["add"].func).batch_dim == (1, 1)
    assert bentoml.api(batch_dim=(1, 0))(Adder.apis["add"].func).batch_dim == (1, 0)


def test_hooks_in_order_of_name_inherited_ones_too() -> None:
    class Base:
        @bentoml.on_startup
        def zeta(self) -> None: ...

        @bentoml.on_shutdown
        async def stop(self) -> None: ...

    class Derived(Base):
        @bentoml.on_startup
        async def alpha(self) -> None: ...

        @bentoml.on_deployment
        def once() -> str:
            return "once"

    assert find_hooks(Derived, STARTUP) == ["alpha", "zeta"]
    assert find_hooks(Derived, SHUTDOWN) == ["stop"]
    assert Derived.once() == Derived().once() == "once"


def test_models_of_a_class(caplog: pytest.LogCaptureFixture) -> None:
    for version in ("1", "2"):
        with bentoml.models.create(f"m:{version}"):
            pass

    @bentoml.service
    class Svc:
        late = bentoml.models.BentoModel("m:latest")
        early = bentoml.models.get("m:1")
        hub = bentoml.models.HuggingFaceModel("org/name", revision="abc")

    assert [str(model) for model in Svc.models] == ["m:1", "org/name:abc", "m:latest"]
    assert "Use `early = BentoModel('m:1')` instead" in caplog.text
    assert isinstance(Svc.inner.late, bentoml.BentoModel)
    instance = Svc()
    assert str(instance.late.tag) == "m:2"
    assert instance.late is instance.late
    assert str(instance.early.tag) == "m:1"


def test_a_missing_model_is_named() -> None:
    @bentoml.service
    class Svc:
        model = bentoml.models.BentoModel("gone:1")

    with pytest.raises(NotFound, match="model `gone:1` is not in the store"):
        _ = Svc().model


def test_hub_model_resolves_through_the_hubs_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HF_CACHE_DIR", "/cache")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    asked: dict[str, t.Any] = {}

    def snapshot_download(model_id: str, **options: t.Any) -> str:
        asked.update(options, model_id=model_id)
        return "/cache/snapshot"

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    model = bentoml.models.HuggingFaceModel("Org/Name", include=["*.json"])
    assert model.resolve() == "/cache/snapshot"
    assert asked == {
        "model_id": "Org/Name",
        "revision": "main",
        "endpoint": "http://127.0.0.1:1",
        "cache_dir": "/cache",
        "allow_patterns": ["*.json"],
        "ignore_patterns": None,
    }


def test_hub_model_is_pulled_by_ekiben_where_the_hubs_library_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    script = tmp_path / "ekiben"
    script.write_text(f'#!/bin/sh\necho "$HF_ENDPOINT $HF_HUB_CACHE $*" > {asked}\necho \'{{"path": "/there"}}\'\n')
    script.chmod(0o755)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("BENTOML_HF_CACHE_DIR", "/cache")
    model = bentoml.models.HuggingFaceModel("Org/Name", endpoint="http://hub", include=["*.json"], exclude=["a", "b"])
    assert model.resolve() == "/there"
    assert asked.read_text().split() == [
        "http://hub",
        "/cache",
        *("models", "pull", "hf://Org/Name@main", "--include=*.json", "--exclude=a", "--exclude=b", "-o", "json"),
    ]
    script.write_text("#!/bin/sh\necho 'error: no such model' >&2\nexit 1\n")
    with pytest.raises(BentoMLException, match="cannot download `Org/Name@main`.*no such model"):
        model.resolve()


def write_snapshot(cache: Path, *, commit: str, listed: list[str]) -> Path:
    """Write a repository `Org/Name` with one file, and a listing of several."""
    repository = cache / "models--Org--Name"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "content").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/content")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (repository / "trees").mkdir()
    files = {name: {"size": 2, "blob_id": "0" * 40} for name in listed}
    (repository / "trees" / f"{commit}.json").write_text(json.dumps({"format_version": 1, "files": files}))
    return snapshot


def test_hub_model_is_found_without_any_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = write_snapshot(tmp_path, commit=commit, listed=["config.json", "model.bin"])
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("BENTOML_HF_CACHE_DIR", raising=False)

    def find(name: str = "Org/Name", **options: t.Any) -> str | None:
        reference = bentoml.models.HuggingFaceModel(name, **options)
        monkeypatch.setattr(reference, "_pull", lambda: None)
        return t.cast("str | None", reference.resolve())

    assert find(revision=commit) is None, "a file of it is missing"
    for include in (["*.json"], ["config*"]):
        assert find(revision=commit, include=include) == str(snapshot)
    assert find(revision=commit, exclude=["*.bin"]) == str(snapshot)
    assert find("org/name", revision=commit, exclude=["*.bin"]) == str(snapshot)
    assert find(exclude=["*.bin"]) is None, "the branch may have moved"
    assert find(revision="../../x") is find("org/other") is None
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find(exclude=["*.bin"]) == str(snapshot)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    # The cache of a bento has what the bento needs, and no listing.
    (tmp_path / "models--Org--Name" / "trees" / f"{commit}.json").unlink()
    assert find(revision=commit) is None
    monkeypatch.setenv("BENTOML_HF_CACHE_DIR", str(tmp_path))
    assert find(revision=commit) == find() == str(snapshot)


def test_importing() -> None:
    with bentoml.importing():
        import no_such_module
    bentoml.server_context.worker_index = 1
    try:
        with pytest.raises(ImportError), bentoml.importing():
            import no_such_module  # noqa: F401
    finally:
        bentoml.server_context.worker_index = None


def test_images_are_recorded() -> None:
    image = bentoml.images.Image(python_version="3.11").python_packages("a", "b").run("echo")

    @bentoml.service(image=image)
    class Svc: ...

    assert Svc.image.steps == [("python_packages", ("a", "b")), ("run", ("echo",))]


# description


def describe(service: t.Any) -> dict[str, t.Any]:
    return describe_frame(service, "module:Svc", None)["service"]


def test_description() -> None:
    described = describe(Adder)
    assert described["slots"] == 256  # one API is asynchronous
    assert described["path_prefix"] == "/v2"
    assert described["endpoints"][0] == {
        "name": "add",
        "route": "/add",
        "is_task": False,
        "is_stream": False,
        "batchable": False,
        "batch_dim": [0, 0],
        "max_batch_size": 100,
        "max_latency_ms": 60000,
        "batch": None,
    }
    assert [endpoint["is_stream"] for endpoint in described["endpoints"]] == [False, True, True, False]
    assert [route["route"] for route in described["schema"]["routes"]] == [
        "/v2/add",
        "/v2/count",
        "/v2/count_later",
        "/v2/later",
    ]
    assert "/v2/add" in described["schema"]["paths"]
    assert "/v2/add" in described["openapi"]["paths"]
    assert "/v2/livez" in described["openapi"]["paths"]


def test_slots_of_a_synchronous_service_are_its_threads() -> None:
    @bentoml.service(threads=3)
    class Svc:
        @bentoml.api
        def f(self) -> None: ...

    assert describe(Svc)["slots"] == 3
    Svc.config["threads"] = 0
    with pytest.raises(BentoMLException, match="`threads` of service `Svc` must be an integer above 0, not 0"):
        describe(Svc)


def unsupported_services() -> dict[str, t.Any]:
    @bentoml.service(cmd=["serve"])
    class Command: ...

    @bentoml.service
    class NeedsCommand:
        dep = bentoml.depends(Command)

    return {
        "`bentoml.service(cmd=...)` is not supported yet by ekiben: custom command of `Command`, a dependency": (
            NeedsCommand
        ),
    }


def test_unsupported_constructs_are_named_when_the_service_is_described() -> None:
    for message, service in unsupported_services().items():
        with pytest.raises(NotSupportedYet) as raised:
            describe(service)
        assert str(raised.value) == message


def test_depends_checks_its_arguments() -> None:
    with pytest.raises(ValueError, match="Must specify at least one of on, deployment or url"):
        bentoml.depends()
    with pytest.raises(TypeError):
        bentoml.depends(object)
    with pytest.raises(BentoMLException):
        bentoml.depends(url="http://x", deployment="d")


def test_types_that_cannot_be_read_name_the_api() -> None:
    @bentoml.service
    class Svc:
        @bentoml.api
        def f(self, x: NoSuchType) -> None: ...  # noqa: F821

    with pytest.raises(TypeError, match="cannot read the input of API `f` from its parameters: .*NoSuchType"):
        describe(Svc)

    @bentoml.service
    class Two:
        @bentoml.api
        def f(self, x: int, /, y: int) -> None: ...

    with pytest.raises(TypeError, match="When positional-only argument is used"):
        describe(Two)


def test_a_type_that_contains_itself_keeps_its_definition() -> None:
    @bentoml.service
    class Svc:
        @bentoml.api
        def f(self, tree: Tree) -> Tree:
            return tree

    schema = describe(Svc)["schema"]["routes"][0]["input"]
    assert schema["properties"]["tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert "Tree" in schema["$defs"]


class Tree(BaseModel):
    children: t.List[Tree] = []


def test_envs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "mine")
    monkeypatch.delenv("NEW", raising=False)
    monkeypatch.delenv("BUILD", raising=False)
    envs = [
        {"name": "SET", "value": "x"},
        {"name": "NEW", "value": "y"},
        {"name": "BUILD", "value": "z", "stage": "build"},
    ]

    @bentoml.service(envs=envs)
    class Svc: ...

    import os

    apply_envs(Svc)
    assert (os.environ["SET"], os.environ["NEW"], os.environ.get("BUILD")) == ("mine", "y", None)
    Svc.envs.append({"name": "WANTED"})
    with pytest.raises(BentoMLException, match="^Environment variable 'WANTED' is required but not set$"):
        apply_envs(Svc)


# loading


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


SERVICE = "import bentoml\n@bentoml.service\nclass One: ...\n"


def test_import_strings(project: Path) -> None:
    (project / "pkg_a").mkdir()
    (project / "pkg_a" / "svc.py").write_text(SERVICE + "nothing = 1\n")
    for target in ("pkg_a.svc:One", "pkg_a/svc.py:One", "pkg_a.svc", "pkg_a/svc.py", str(project / "pkg_a" / "svc.py")):
        service = import_service(target, project)
        assert (service.name, service.import_string) == ("One", "pkg_a.svc:One")
    with pytest.raises(ImportServiceError, match="has no attribute `Two`"):
        import_service("pkg_a.svc:Two", project)
    with pytest.raises(ImportServiceError, match="is not a service but an object of type `int`"):
        import_service("pkg_a.svc:nothing", project)
    with pytest.raises(ImportServiceError, match="is not inside the working directory"):
        import_service("../svc.py", project)


def test_a_module_with_several_services(project: Path) -> None:
    two = SERVICE + "@bentoml.service\nclass Two:\n    one = bentoml.depends(One)\n"
    (project / "two_services.py").write_text(two)
    assert import_service("two_services", project).name == "Two"
    with pytest.raises(NotSupportedYet, match="a service inside another one"):
        import_service("two_services:Two.one", project)
    (project / "three_services.py").write_text(two + "@bentoml.service\nclass Three: ...\n")
    with pytest.raises(
        ImportServiceError, match="has several services, name one: `three_services:Two`, `three_services:Three`"
    ):
        import_service("three_services", project)
    (project / "no_services.py").write_text("x = 1\n")
    with pytest.raises(ImportServiceError, match="no class in it has `@bentoml.service`"):
        import_service("no_services", project)


def test_a_service_of_upstream_is_recognised(project: Path) -> None:
    (project / "upstream_service.py").write_text(
        "Service = type('Service', (), {'__module__': '_bentoml_sdk.service.factory'})\nsvc = Service()\n"
    )
    for target in ("upstream_service:svc", "upstream_service"):
        with pytest.raises(ImportServiceError, match="remove `bentoml` from the service's Python packages"):
            import_service(target, project)


# inputs and outputs


def method(func: t.Callable[..., t.Any], **options: t.Any) -> t.Any:
    return bentoml.api(**options)(func)


def test_variadic_parameters() -> None:
    def f(self, first: int, *args: int, **kwargs: t.Any) -> None: ...

    spec = method(f).input_spec
    arguments = spec.decode(b'{"first":1,"args":[2,"3"],"kwargs":{"k":4}}', "application/json", "")
    assert arguments == ((1, 2, 3), {"k": 4})


def test_specs_given_as_classes() -> None:
    class In(BaseModel):
        n: int

    class Out(bentoml.IODescriptor):
        x: Annotated[np.ndarray, Shape((2,)), DType("float32")]

    def f(self, **kwargs: t.Any) -> t.Any: ...

    api = method(f, input_spec=In, output_spec=Out)
    assert api.input_spec.decode(b'{"n":"1"}', "application/json", "") == ((), {"n": 1})
    assert api.output_spec.encode({"x": [1, 2]}) == b'{"x":[1.0,2.0]}'
    assert api.output_spec.schema()["properties"]["x"] == {
        "dim": 2,
        "dtype": "float32",
        "format": "numpy-array",
        "shape": [2] if isinstance(api.output_spec.schema()["properties"]["x"]["shape"], list) else (2,),
        "title": "X",
        "type": "tensor",
    }


def test_a_root_model_keeps_the_users_class() -> None:
    def f(self, tree: Tree, /) -> Tree: ...

    (value,), _ = method(f).input_spec.decode(b'{"children":[]}', "application/json", "")
    assert type(value) is Tree


def test_outputs_that_are_lenient() -> None:
    def model(self) -> Tree: ...
    def untyped(self): ...

    assert method(model).output_spec.encode({"children": []}) == b'{"children":[]}'
    assert method(untyped).output_spec.encode({"a": np.float32(0.5), "b": np.arange(2)}) == b'{"a": 0.5, "b": [0, 1]}'


def test_a_stream_may_declare_its_content_type() -> None:
    def f(self) -> Annotated[t.Iterator[str], ContentType("text/plain")]:
        yield ""

    assert method(f).output_spec.content_type == "text/plain; charset=utf-8"


def test_array_annotations() -> None:
    def conflicting(self, x: Annotated[np.ndarray[t.Any, np.dtype[np.int64]], DType("float32")]) -> None: ...
    def unknown(self, x: Annotated[np.ndarray, DType("float99")]) -> None: ...

    with pytest.raises(TypeError, match="Conflicting dtype annotations: int64 and float32"):
        _ = method(conflicting).input_spec
    with pytest.raises(TypeError, match="float99"):
        _ = method(unknown).input_spec


def test_frames() -> None:
    pd = importlib.import_module("pandas")

    def rows(self, df: pd.DataFrame) -> pd.DataFrame: ...
    def columns(
        self, df: Annotated[pd.DataFrame, DataframeSchema("columns", columns=("a", "b"))]
    ) -> Annotated[pd.DataFrame, DataframeSchema("columns")]: ...

    rows.__annotations__ = {"df": pd.DataFrame, "return": pd.DataFrame}
    columns.__annotations__ = {
        "df": Annotated[pd.DataFrame, DataframeSchema("columns", columns=("a", "b"))],
        "return": Annotated[pd.DataFrame, DataframeSchema("columns")],
    }
    _, arguments = method(rows).input_spec.decode(b'{"df":[{"a":1,"b":2},{"a":3,"b":4}]}', "application/json", "")
    assert arguments["df"].to_dict("list") == {"a": [1, 3], "b": [2, 4]}
    assert method(rows).output_spec.encode(arguments["df"]) == b'[{"a": 1, "b": 2}, {"a": 3, "b": 4}]'
    assert method(columns).output_spec.encode(arguments["df"]) == b'{"a": [1, 3], "b": [2, 4]}'
    assert method(columns).input_spec.schema()["properties"]["df"]["columns"] == ("a", "b")
    with pytest.raises(ValueError, match="Only 'records' and 'columns'"):
        DataframeSchema("index")
