"""Old-style services: how they are declared, and what is refused when their module is imported."""

from __future__ import annotations

import collections.abc
import copy
import io
import logging
import typing as t
from pathlib import Path

import bentoml
import numpy as np
import pandas as pd
import pytest
from bentoml.exceptions import BentoMLException, ImportServiceError, InvalidArgument
from bentoml.io import JSON, File, Image, Multipart, NumpyNdarray, PandasDataFrame, PandasSeries, Text
from pydantic import BaseModel

from ekiben.legacy.returned import Returned
from ekiben.legacy.service import Service
from ekiben.services.loader import import_service
from ekiben.unsupported import NotSupportedYet


class Adder(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = False

    @bentoml.Runnable.method
    def add(self, number):
        return number + 1


def runner(name: str = "adder") -> bentoml.Runner:
    return bentoml.Runner(Adder, name=name)


def api(func: t.Callable[..., t.Any], input: t.Any = None, output: t.Any = None, **options: t.Any) -> t.Any:
    service = Service("s")
    assert service.api(input or Text(), output or Text(), **options)(func) is func
    (found,) = service.apis.values()
    return found


# the two shapes of `bentoml.Service`


def test_both_shapes_of_service() -> None:
    one = runner()
    old = bentoml.Service("Old", runners=[one])
    assert (type(old), old.name, old.runners, old.models) == (bentoml.legacy.Service, "old", [one], [])
    for service in (bentoml.Service("x"), bentoml.Service(name="x", models=[]), bentoml.legacy.Service("x")):
        assert type(service) is Service

    @bentoml.service
    class New:
        @bentoml.api
        def f(self) -> str:
            return "x"

    assert type(New) is bentoml.Service
    assert copy.copy(New).name == "New"
    direct = bentoml.Service("Direct", {"workers": 2}, New.inner)
    assert (direct.config, list(direct.apis)) == ({"workers": 2}, ["f"])
    with pytest.raises(TypeError, match="unexpected keyword argument 'config'"):
        bentoml.Service("x", config={})


def test_names_are_those_of_tags(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert bentoml.Service("Iris_Clf").name == "iris_clf"
    assert "Converting Iris_Clf to lowercase: iris_clf." in caplog.text
    with pytest.raises(ValueError, match="a b is not a valid BentoML tag"):
        bentoml.Service("a b")


def test_runners_and_models_are_checked() -> None:
    with pytest.raises(ValueError, match="Found duplicate name `adder` in service runners."):
        bentoml.Service("s", runners=[runner(), runner()])
    with pytest.raises(AssertionError, match="can only contain bentoml.legacy.Runner instances"):
        bentoml.Service("s", runners=["adder"])
    with pytest.raises(AssertionError, match=r"can only contain bentoml.Model instances"):
        bentoml.Service("s", models=["m:v1"])
    model = bentoml.picklable_model.save_model("m", print)
    service = bentoml.Service("s", models=[model], runners=[model.to_runner()])
    assert [str(one.tag) for one in service.all_models] == [str(model.tag)]


@pytest.mark.parametrize(
    "construct",
    [
        "mount_grpc_servicer",
        "add_grpc_interceptor",
        "add_grpc_handlers",
    ],
)
def test_what_is_not_served_says_so(construct: str) -> None:
    with pytest.raises(NotSupportedYet, match=f"`Service.{construct}` is not supported yet by ekiben: in service `s`"):
        getattr(bentoml.Service("s"), construct)(object())


def test_there_is_no_other_server() -> None:
    with pytest.raises(NotSupportedYet, match=r"`Service.asgi_app` is not supported yet"):
        _ = bentoml.Service("s").asgi_app


# APIs


def test_an_api_has_a_name_a_route_and_a_description() -> None:
    def predict(x):
        """Predict."""

    plain = api(predict)
    assert (plain.name, plain.route, plain.path, plain.doc) == ("predict", "predict", "/predict", "Predict.")
    other = api(predict, name="other", route="/v1/other", doc="Other.")
    assert (other.name, other.route, other.path, other.doc) == ("other", "/v1/other", "/v1/other", "Other.")
    service = Service("s")
    service.api(Text(), Text())(predict)
    with pytest.raises(BentoMLException, match="API predict is already defined in Service s"):
        service.api(Text(), Text())(predict)


@pytest.mark.parametrize("name", ["index", "swagger", "docs", "metrics", "healthz", "livez", "readyz"])
def test_reserved_names_and_routes(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"Reserved API name: '{name}' is reserved for infra endpoints"):
        api(lambda x: x, name=name)
    with pytest.raises(InvalidArgument, match=f"Reserved API route: '{name}' is reserved for infra endpoints"):
        api(lambda x: x, name="f", route=name)


def test_names_and_routes_that_cannot_be() -> None:
    with pytest.raises(InvalidArgument, match="Invalid API name: 'a-b', a valid identifier may only contain letters"):
        api(lambda x: x, name="a-b")
    for route in ("a?b", "a#b", "//a", ":a"):
        with pytest.raises(InvalidArgument, match="contains illegal url characters"):
            api(lambda x: x, name="f", route=route)
    assert api(lambda x: x, name="f", route="v1/a:b").path == "/v1/a:b"


def test_the_context_is_the_second_parameter() -> None:
    assert api(lambda x: x, name="f").ctx_param is None
    assert api(lambda x, whatever: x, name="f").ctx_param == "whatever"
    with pytest.raises(ValueError, match="Expected API function to take parameters"):
        api(lambda: None, name="f")
    with pytest.raises(ValueError, match="should only take one or two arguments"):
        api(lambda x, y, z: None, name="f")

    def right(x: str, ctx: bentoml.Context) -> str: ...

    def wrong(x: str, ctx: int) -> str: ...

    right.__annotations__["ctx"] = bentoml.Context
    wrong.__annotations__["ctx"] = int
    assert api(right).needs_ctx
    with pytest.raises(TypeError, match="Expected type of argument 'ctx' to be 'bentoml.Context', got '<class 'int'>'"):
        api(wrong)


@pytest.mark.parametrize(
    ("input", "annotation", "fits"),
    [
        (Text(), str, True),
        (Text(), object, True),
        (Text(), int, False),
        (Text(), "int", True),  # text is not looked at
        (Text(), t.Optional[str], True),
        (JSON(), int, True),
        (NumpyNdarray(), np.ndarray, True),
        (NumpyNdarray(), np.matrix, True),
        (NumpyNdarray(), list, False),
        (PandasDataFrame(), pd.DataFrame, True),
        (PandasDataFrame(), pd.Series, False),
        (PandasSeries(), pd.Series, True),
        (Image(), np.ndarray, True),
        (File(), bytes, True),
    ],
)
def test_annotations_are_compared_with_the_input(input: t.Any, annotation: t.Any, fits: bool) -> None:
    def f(x): ...

    f.__annotations__["x"] = annotation
    if fits:
        api(f, input)
    else:
        with pytest.raises(TypeError, match="Expected type of argument 'x' to be '"):
            api(f, input)


def test_the_parts_of_a_form_are_parameters() -> None:
    parts = Multipart(a=Text(), b=NumpyNdarray())
    assert api(lambda a, b: a, parts, name="f").ctx_param is None
    assert api(lambda b, ctx, a: a, parts, name="f").ctx_param == "ctx"
    for function, message in (
        (lambda a: a, r"expected API function to have arguments \(a, b, \[context\]\), got \(a\)"),
        (lambda a, b, c: a, "API function has extra parameter with name 'c'"),
        (lambda a, b, ctx, context: a, "has two context parameters: 'ctx' and 'context'"),
    ):
        with pytest.raises(ValueError, match=message):
            api(function, parts, name="f")


def test_only_descriptors_are_inputs_and_outputs() -> None:
    with pytest.raises(TypeError, match="`input` of an API must be a descriptor of `bentoml.io`"):
        Service("s").api("text", Text(), name="f")(lambda x: x)
    with pytest.raises(TypeError, match="`output` of an API must be a descriptor"):
        Service("s").api(Text(), Text, name="f")(lambda x: x)


def test_how_functions_run() -> None:
    async def coroutine(x): ...

    async def pieces(x):
        yield x

    class Callable:
        __name__ = "callable"

        async def __call__(self, x): ...

    assert api(coroutine).is_async
    assert api(pieces).is_async
    assert api(pieces).is_stream
    assert api(Callable()).is_async
    assert not api(lambda x: x, name="f").is_async


# APIs without output


class Model(BaseModel):
    n: int


@pytest.mark.parametrize(
    ("annotation", "output"),
    [
        (str, Text),
        ("str", Text),
        (bytes, File),
        (io.BytesIO, File),
        (dict, JSON),
        (dict[str, float], JSON),
        (Model, JSON),
        (None, JSON),
        (int, JSON),
        (np.ndarray, NumpyNdarray),
        (pd.DataFrame, PandasDataFrame),
        (pd.Series, PandasSeries),
        (collections.abc.AsyncGenerator[str, None], Text),
        (t.Iterator[str], Text),
        (t.Any, Returned),
        (object, Returned),
        (t.Union[str, int], Returned),
        ("OnlyForTypeCheckers", Returned),
    ],
)
def test_without_output_the_annotation_decides(annotation: t.Any, output: type) -> None:
    def f(x): ...

    f.__annotations__["return"] = annotation
    service = Service("s")
    service.api(input=Text())(f)
    assert type(service.apis["f"].output) is output


def test_without_annotation_the_value_decides() -> None:
    output = Returned()
    for value, body, kind in (
        ("ä", "ä".encode(), "text/plain; charset=utf-8"),
        (b"\x00", b"\x00", "application/octet-stream"),
        ({"a": 1}, b'{"a":1}', "application/json"),
        ([1.5], b"[1.5]", "application/json"),
        (True, b"true", "application/json"),
        (None, b"", "application/json"),
        (np.array([1]), b"[1]", "application/json"),
        (np.float64(0.5), b"0.5", "application/json"),
        (pd.DataFrame({"a": [1]}), b'[{"a":1}]', "application/json"),
        (Model(n=1), b'{"n":1}', "application/json"),
    ):
        encoded = output.encode(value)
        assert (encoded.body, dict(encoded.headers)["content-type"]) == (body, kind)


# documents


def test_the_document_names_the_descriptors() -> None:
    service = bentoml.Service("s")

    @service.api(input=NumpyNdarray(dtype="float32"), output=JSON(pydantic_model=Model), route="v1/f")
    def f(x):
        """Do it."""

    @service.api(input=Text())
    def g(x): ...

    spec = service.openapi_spec
    assert (spec["openapi"], spec["info"]["title"], spec["info"]["version"]) == ("3.0.2", "s", "None")
    post = spec["paths"]["/v1/f"]["post"]
    assert post["operationId"] == "s__f"
    assert (post["x-bentoml-name"], post["description"]) == ("f", "Do it.")
    assert post["requestBody"]["x-bentoml-io-descriptor"] == {
        "id": "bentoml.io.NumpyNdarray",
        "args": {"dtype": "float32", "shape": None, "enforce_dtype": False, "enforce_shape": False},
    }
    assert post["responses"]["200"]["x-bentoml-io-descriptor"]["id"] == "bentoml.io.JSON"
    assert set(spec["components"]["schemas"]) == {"Model", "InvalidArgument", "NotFound", "InternalServerError"}
    assert set(spec["paths"]) == {"/healthz", "/livez", "/readyz", "/metrics", "/v1/f", "/g"}
    assert "x-bentoml-io-descriptor" not in spec["paths"]["/g"]["post"]["responses"]["200"]


# finding them


def test_a_service_is_found_in_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "old_one.py").write_text("import bentoml\nsvc = same = bentoml.Service('one')\n")
    for target in ("old_one:svc", "old_one", "old_one.py"):
        found = import_service(target, tmp_path)
        assert (found.name, found.import_string) == ("one", "old_one:svc")
    (tmp_path / "old_two.py").write_text("import bentoml\na = bentoml.Service('a')\nb = bentoml.Service('b')\n")
    with pytest.raises(ImportServiceError, match="has several services, name one: `old_two:a`, `old_two:b`"):
        import_service("old_two", tmp_path)
    new = "@bentoml.service\nclass New:\n    @bentoml.api\n    def f(self) -> str: ...\n"
    (tmp_path / "old_and_new.py").write_text(f"import bentoml\nold = bentoml.Service('old')\n{new}")
    assert import_service("old_and_new", tmp_path).name == "New"
    assert import_service("old_and_new:old", tmp_path).name == "old"


def test_the_origin_of_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "origin.py").write_text(
        "import bentoml\nsvc = bentoml.Service('one')\nlegacy = bentoml.legacy.Service('two')\n"
    )
    import origin  # type: ignore[import-not-found]

    assert origin.svc.get_service_import_origin()[0] == "origin:svc"
    assert origin.legacy.import_string == "origin:legacy"
    with pytest.raises(BentoMLException, match="must be assigned to a variable of its module"):
        _ = bentoml.Service("nowhere").import_string


def test_a_service_of_upstream_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "upstream_old.py").write_text(
        "Service = type('Service', (), {'__module__': 'bentoml._internal.service.service'})\nsvc = Service()\n"
    )
    for target in ("upstream_old:svc", "upstream_old"):
        with pytest.raises(ImportServiceError, match="remove `bentoml` from the service's Python packages"):
            import_service(target, tmp_path)
