"""The descriptors of ``bentoml.io``: bodies to values and back, what is refused, specifications and documents."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import pandas as pd
import pytest
from bentoml.exceptions import BadInput, BentoMLException, InvalidArgument, UnprocessableEntity
from bentoml.io import (
    JSON,
    SSE,
    File,
    Image,
    IODescriptor,
    Multipart,
    NumpyNdarray,
    PandasDataFrame,
    PandasSeries,
    Text,
    from_spec,
)
from PIL import Image as pillow
from pydantic import BaseModel

from ekiben.descriptors import DESCRIPTORS, load
from ekiben.descriptors.base import Content
from ekiben.http_values import Headers


class Flower(BaseModel):
    name: str
    petals: int = 5


class Field(BaseModel):
    flowers: list[Flower]


FORM_TYPE = 'multipart/form-data; boundary="cut"'


def content(body: bytes | str, content_type: str | None = "application/json", filename: str | None = None) -> Content:
    headers = [] if content_type is None else [("content-type", content_type)]
    return Content(body.encode() if isinstance(body, str) else body, Headers(headers), filename)


def form(*parts: tuple[str, bytes]) -> Content:
    """Make a form of parts given as ``(the head after "form-data; ", content)``."""
    body = b"".join(
        b"--cut\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data + b"\r\n"
        for head, data in parts
    )
    return content(body + b"--cut--\r\n", FORM_TYPE)


def encoded(descriptor: IODescriptor, value: Any) -> tuple[bytes, dict[str, str]]:
    result = descriptor.encode(value)
    return result.body, dict(result.headers)


# all


def test_every_descriptor_is_in_the_table_and_a_library_is_imported_by_its_own_alone() -> None:
    assert {load(name).descriptor_id for name in DESCRIPTORS} == {f"bentoml.io.{name}" for name in DESCRIPTORS}
    code = """
import sys, ekiben.io as io
def loaded(): return sorted({"numpy", "pandas", "PIL", "pydantic"} & set(sys.modules))
io.Text(), io.JSON(), io.File(), io.Multipart(a=io.Text()), io.NumpyNdarray(), io.PandasDataFrame(), io.PandasSeries()
print(loaded())
io.NumpyNdarray(dtype="float32")
print(loaded())
io.Image()
print(loaded())
"""
    done = subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"], stdout=-1)
    assert done.stdout.decode().splitlines() == ["[]", "['numpy']", "['PIL', 'numpy']"]


@pytest.mark.parametrize(
    "descriptor",
    [
        Text(),
        JSON(),
        NumpyNdarray(dtype="float32", shape=(-1, 2), enforce_shape=True),
        PandasDataFrame(orient="split", columns=["a"], dtype={"a": "int64"}, shape=(1, 2), default_format="csv"),
        PandasDataFrame(),
        PandasSeries(dtype="float64", enforce_dtype=True),
        PandasSeries(),
        Image(mime_type="image/png", allowed_mime_types=["image/PNG"]),
        File(mime_type="application/pdf"),
        Multipart(array=NumpyNdarray(shape=(2,)), note=Text()),
    ],
    ids=repr,
)
def test_a_specification_makes_an_equal_descriptor(descriptor: IODescriptor) -> None:
    spec = json.loads(json.dumps(descriptor.to_spec()))
    again = from_spec(spec)
    assert type(again) is type(descriptor)
    assert json.loads(json.dumps(again.to_spec())) == spec


def test_specifications_that_name_nothing_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="missing ID"):
        from_spec({})
    with pytest.raises(InvalidArgument, match="No IO descriptor spec found"):
        from_spec({"id": None})
    for wrong in ("bentoml.io.Nothing", "Text", "os.system"):
        with pytest.raises(InvalidArgument, match=f"no IO descriptor has the ID `{wrong}`"):
            from_spec({"id": wrong, "args": {}})
    with pytest.raises(InvalidArgument, match="Missing args key in NumpyNdarray spec"):
        from_spec({"id": "bentoml.io.NumpyNdarray"})


# Text


def test_text() -> None:
    assert Text().decode(content("grüße", "image/png")) == "grüße"
    assert encoded(Text(), "ä") == ("ä".encode(), {"content-type": "text/plain; charset=utf-8"})
    assert encoded(Text("text/event-stream"), ["a", b"b"]) == (
        b"ab",
        {"content-type": "text/event-stream; charset=utf-8"},
    )
    with pytest.raises(UnicodeDecodeError):
        Text().decode(content(b"\xff"))
    for wrong in (None, 7, [1]):
        with pytest.raises(TypeError):
            Text().encode(wrong)
    assert Text.from_sample(b"sample").openapi_request_body()["content"] == {
        "text/plain": {"schema": {"type": "string"}, "example": "sample"}
    }


# JSON


def test_json_is_compact_and_none_is_nothing() -> None:
    assert JSON().decode(content(' {"a": [1, null]} ')) == {"a": [1, None]}
    assert encoded(JSON(), {"a": [1, "ä"]}) == ('{"a":[1,"ä"]}'.encode(), {"content-type": "application/json"})
    assert encoded(JSON(), None)[0] == b""
    with pytest.raises(BadInput, match="Invalid JSON input received: Expecting value"):
        JSON().decode(content(""))
    with pytest.raises(ValueError, match="Out of range float values"):
        JSON().encode(float("nan"))


def test_json_converts_the_values_of_libraries() -> None:
    @dataclasses.dataclass
    class Point:
        x: int

    class Colour(enum.Enum):
        RED = "red"

    class Attrs:
        """As a class of the library attrs is."""

        __attrs_attrs__ = (type("A", (), {"name": "colour"}), type("A", (), {"name": "array"}))
        colour = Colour.RED
        array = np.array([1])

    value = {
        "array": np.array([[1, 2]]),
        "scalar": np.float32(0.5),
        "frame": pd.DataFrame({"a": [1]}),
        "series": pd.Series([2]),
        "model": Flower(name="iris"),
        "point": Point(1),
        "attrs": Attrs(),
    }
    assert json.loads(JSON().encode(value).body) == {
        "array": [[1, 2]],
        "scalar": 0.5,
        "frame": {"a": {"0": 1}},
        "series": {"0": 2},
        "model": {"name": "iris", "petals": 5},
        "point": {"x": 1},
        "attrs": {"colour": "red", "array": [1]},
    }
    with pytest.raises(TypeError, match="not JSON serializable"):
        JSON().encode({"set": {1}})
    with pytest.raises(TypeError):
        JSON().encode(Point)


def test_json_of_a_model() -> None:
    descriptor = JSON(pydantic_model=Field)
    assert descriptor.decode(content('{"flowers": [{"name": "iris"}]}')) == Field(flowers=[Flower(name="iris")])
    with pytest.raises(BadInput, match="Invalid JSON input received: 1 validation error for Field"):
        descriptor.decode(content("{}"))
    assert JSON().encode(Flower(name="iris")).body == b'{"name":"iris","petals":5}'
    assert set(descriptor.openapi_components()) == {"Field", "Flower"}
    assert descriptor.openapi_schema()["properties"]["flowers"]["items"] == {"$ref": "#/components/schemas/Flower"}
    with pytest.raises(AssertionError, match="must be a subclass"):
        JSON(pydantic_model=dict)  # type: ignore[arg-type]
    sampled = JSON.from_sample(Flower(name="iris"))
    assert sampled.openapi_example() == {"name": "iris", "petals": 5}
    assert sampled.to_spec()["args"] == {"has_pydantic_model": True, "has_json_encoder": False}
    assert from_spec(sampled.to_spec()).decode(content("{}")) == {}


def test_json_with_an_encoder_of_the_users() -> None:
    class Lengths(json.JSONEncoder):
        def default(self, o: Any) -> Any:
            return len(o)

    assert JSON(json_encoder=Lengths).encode({"a": {1, 2}}).body == b'{"a":2}'


def test_json_samples() -> None:
    assert JSON.from_sample('{"a": 1}').openapi_example() == {"a": 1}
    assert JSON.from_sample(b"[1]").openapi_example() == "[1]"
    for wrong, message in (("{", "Unable to parse JSON string"), (b"{", "JSON bytes"), (7, "Unable to infer")):
        with pytest.raises(BadInput, match=message):
            JSON.from_sample(wrong)


# NumpyNdarray


def test_arrays() -> None:
    array = NumpyNdarray().decode(content("[[1, 2]]"))
    assert (array.dtype, array.shape) == (np.dtype("int64"), (1, 2))
    assert encoded(NumpyNdarray(), np.array([[3.0]])) == (b"[[3.0]]", {"content-type": "application/json"})
    with pytest.raises(ValueError, match="Expecting value"):
        NumpyNdarray().decode(content("x"))
    with pytest.raises(UnprocessableEntity, match='Invalid dtype "nonsense"'):
        NumpyNdarray(dtype="nonsense")


def test_arrays_are_cast_within_their_kind() -> None:
    assert NumpyNdarray(dtype="float32").decode(content("[1, 2.5]")).dtype == np.float32
    # What cannot be cast stays as it is, unless the type is enforced.
    assert NumpyNdarray(dtype="int64").decode(content('["a"]')).dtype.kind == "U"
    with pytest.raises(BadInput, match='NumpyNdarray: Expecting ndarray of dtype "int64", but "<U1" was received.'):
        NumpyNdarray(dtype="int64", enforce_dtype=True).decode(content('["a"]'))
    assert NumpyNdarray(dtype="float32").encode(np.array([1.0])).body == b"[1.0]"


def test_arrays_are_reshaped_where_that_is_possible() -> None:
    assert NumpyNdarray(shape=(2, -1)).decode(content("[1, 2, 3, 4]")).shape == (2, 2)
    assert NumpyNdarray(shape=(2, 2)).decode(content("[1, 2, 3]")).shape == (3,)
    strict = NumpyNdarray(shape=(-1, 2), enforce_shape=True)
    assert strict.decode(content("[[1, 2]]")).shape == (1, 2)
    for wrong in ("[1, 2]", "[[1, 2, 3]]"):
        with pytest.raises(BadInput, match="Expecting ndarray of shape"):
            strict.decode(content(wrong))


def test_arrays_from_a_sample() -> None:
    descriptor = NumpyNdarray.from_sample([[1.5, 2]], enforce_shape=True)
    assert descriptor.to_spec()["args"] == {
        "dtype": "float64",
        "shape": (1, 2),
        "enforce_dtype": False,
        "enforce_shape": True,
    }
    media = descriptor.openapi_responses()["content"]["application/json"]
    assert media["schema"] == {
        "type": "array",
        "items": {"type": "array", "items": {"type": "number"}},
        "nullable": True,
    }
    assert media["example"] == [[1.5, 2]]
    with pytest.raises(BadInput, match=r"expects a 'numpy.array'"):
        NumpyNdarray.from_sample(np.float64(1))
    with pytest.raises(BadInput, match="is not a numpy ND-array"):
        NumpyNdarray.from_sample([[1], [2, 3]])


# PandasDataFrame


def test_frames_are_read_by_their_content_type() -> None:
    descriptor = PandasDataFrame()
    expected = pd.DataFrame({"a": [1], "b": ["x"]})
    for body, kind in (
        ('[{"a": 1, "b": "x"}]', "application/json"),
        ('[{"a": 1, "b": "x"}]', None),
        ('[{"a": 1, "b": "x"}]', "application/whatever"),
        ("a,b\n1,x\n", "text/csv"),
        ("a,b\n1,x\n", "text/csv; charset=utf-8"),
    ):
        pd.testing.assert_frame_equal(descriptor.decode(content(body, kind)), expected)
    pd.testing.assert_frame_equal(PandasDataFrame(default_format="csv").decode(content("a,b\n1,x", None)), expected)
    with pytest.raises(ValueError, match="Expected object or value|Invalid|Unexpected"):
        descriptor.decode(content("x"))


def test_frames_are_written_in_the_default_format() -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    assert encoded(PandasDataFrame(), frame) == (b'[{"a":1},{"a":2}]', {"content-type": "application/json"})
    assert encoded(PandasDataFrame(orient="columns"), frame)[0] == b'{"a":{"0":1,"1":2}}'
    assert encoded(PandasDataFrame(default_format="csv"), frame) == (
        b",a\n0,1\n1,2\n",
        {"content-type": "text/csv; charset=utf-8"},
    )
    with pytest.raises(
        InvalidArgument, match=r"return object is not of type 'pd.DataFrame', got type '<class 'list'>'"
    ):
        PandasDataFrame().encode([1])
    with pytest.raises(InvalidArgument, match="must be one of json, parquet, csv, not `pickle`"):
        PandasDataFrame(default_format="pickle")


def test_parquet_goes_through_the_engine_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from ekiben.descriptors import pandas_formats

    monkeypatch.setattr(pandas_formats, "find_spec", lambda name: name == "fastparquet" or None)
    monkeypatch.setattr(pd, "read_parquet", lambda body, engine: pd.DataFrame({engine: [len(body.read())]}))
    monkeypatch.setattr(pd.DataFrame, "to_parquet", lambda self, engine: engine.encode())
    descriptor = PandasDataFrame(default_format="parquet")
    for kind in ("application/vnd.apache.parquet", "application/octet-stream", None):
        assert descriptor.decode(content(b"PAR1", kind)).to_dict("list") == {"fastparquet": [4]}
    assert encoded(descriptor, pd.DataFrame()) == (
        b"fastparquet",
        {"content-type": "application/vnd.apache.parquet"},
    )
    monkeypatch.setattr(pandas_formats, "find_spec", lambda name: None)
    with pytest.raises(BentoMLException, match="Parquet serialization is not available"):
        PandasDataFrame(default_format="parquet")
    with pytest.raises(BentoMLException, match="Parquet serialization is not available"):
        PandasDataFrame().decode(content(b"PAR1", "application/vnd.apache.parquet"))


def test_frames_are_checked() -> None:
    named = PandasDataFrame(columns=["a", "b"], apply_column_names=True)
    assert list(named.decode(content('[{"x": 1, "y": 2}]')).columns) == ["a", "b"]
    with pytest.raises(BadInput, match=r"length of 'columns' \(2\) does not match the # of columns of incoming data"):
        named.decode(content('[{"x": 1}]'))
    with pytest.raises(BadInput, match="you must provide columns"):
        PandasDataFrame(apply_column_names=True).decode(content('[{"x": 1}]'))
    shaped = PandasDataFrame(shape=(-1, 2), enforce_shape=True)
    assert shaped.decode(content('[{"x": 1, "y": 2}]')).shape == (1, 2)
    with pytest.raises(BadInput, match='Expecting DataFrame of shape "'):
        shaped.decode(content('[{"x": 1}]'))
    typed = PandasDataFrame(dtype={"a": "float64"}, enforce_dtype=True)
    assert typed.decode(content('[{"a": 1}]')).dtypes.to_dict() == {"a": np.float64}


def test_frames_from_a_sample() -> None:
    frame = pd.DataFrame({"n": [1], "f": [0.5], "s": ["x"], "b": [True]})
    descriptor = PandasDataFrame.from_sample(frame)
    spec = descriptor.to_spec()["args"]
    assert (spec["columns"], spec["shape"]) == (["n", "f", "s", "b"], (1, 4))
    types = {"n": "integer", "f": "number", "s": "string", "b": "boolean"}
    row = {"type": "object", "properties": {name: {"type": kind} for name, kind in types.items()}}
    assert descriptor.openapi_schema() == {"type": "array", "items": row}
    assert descriptor.openapi_example() == '[{"n":1,"f":0.5,"s":"x","b":true}]'
    by_column = PandasDataFrame(orient="columns", dtype={"n": "int64"}).openapi_schema()
    assert by_column["properties"] == {"n": {"type": "object", "additionalProperties": {"type": "integer"}}}
    assert PandasDataFrame(orient="index", dtype={"n": "int64"}).openapi_schema()["additionalProperties"] == {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
    }
    assert PandasDataFrame.from_sample(np.array([[1, 2]])).to_spec()["args"]["columns"] == ["0", "1"]


# PandasSeries


def test_series() -> None:
    series = PandasSeries().decode(content("[1, 2]"))
    assert series.tolist() == [1, 2]
    assert encoded(PandasSeries(), pd.Series([1.5])) == (b"[1.5]", {"content-type": "application/json"})
    assert PandasSeries(orient="index").encode(pd.Series([1])).body == b'{"0":1}'
    with pytest.raises(InvalidArgument, match=r"return object is not of type 'pd.Series'"):
        PandasSeries().encode(pd.DataFrame())
    assert PandasSeries(dtype="float32").encode(pd.Series([1.0], dtype="float64")).body == b"[1.0]"
    with pytest.raises(BadInput, match='Expecting series of dtype "int64", but "'):
        PandasSeries(dtype="int64", enforce_dtype=True).validate_series(pd.Series(["x"]))
    with pytest.raises(BadInput, match="Expecting Series of shape"):
        PandasSeries(shape=(2,), enforce_shape=True).decode(content("[1]"))
    # A type of pandas alone, which NumPy cannot compare with.
    assert PandasSeries(dtype="category").validate_series(pd.Series([1])).dtype == np.int64


def test_series_from_a_sample() -> None:
    descriptor = PandasSeries.from_sample([1.5, 2])
    assert descriptor.to_spec()["args"]["dtype"] == "float64"
    assert descriptor.to_spec()["args"]["shape"] == (2,)
    assert descriptor.openapi_example() == "[1.5,2.0]"
    assert PandasSeries(dtype="int64").openapi_schema() == {"type": "array", "items": {"type": "integer"}}
    assert PandasSeries(dtype="int64", orient="index").openapi_schema()["type"] == "object"


# Image


def png(size: tuple[int, int] = (2, 1)) -> bytes:
    file = io.BytesIO()
    pillow.new("RGB", size, (1, 2, 3)).save(file, "PNG")
    return file.getvalue()


def test_images() -> None:
    picture = Image().decode(content(png(), "image/png"))
    assert (picture.size, picture.getpixel((0, 0))) == ((2, 1), (1, 2, 3))
    body, headers = encoded(Image(mime_type="image/PNG"), picture)
    assert pillow.open(io.BytesIO(body)).format == "PNG"
    assert headers == {"content-disposition": 'attachment; filename="output.png"', "content-type": "image/png"}
    body, headers = encoded(Image(), np.zeros((2, 3, 3), dtype="uint8"))
    assert (pillow.open(io.BytesIO(body)).size, headers["content-type"]) == ((3, 2), "image/jpeg")


def test_images_in_forms() -> None:
    text = ('name="a"', b"no file")
    picture = ('name="p"; filename="p.png"\r\nContent-Type: image/png', png())
    assert Image().decode(form(text, picture)).size == (2, 1)
    with pytest.raises(BadInput, match="no image file found in multipart form"):
        Image().decode(form(text))
    with pytest.raises(BadInput, match=r"allowed mime types are: image/jpeg\), got files with content types image/png"):
        Image(allowed_mime_types=["image/jpeg"]).decode(form(picture))


def test_images_that_are_none() -> None:
    with pytest.raises(BadInput, match="mime type text/plain is not allowed, allowed mime types are: image/png"):
        Image(allowed_mime_types=["image/png"]).decode(content(png(), "text/plain"))
    with pytest.raises(BadInput, match="is not allowed"):
        Image().decode(content(png(), None))
    with pytest.raises(BadInput, match="Failed to parse uploaded image file"):
        Image().decode(content(b"x", "image/png"))
    with pytest.raises(BadInput, match="Unsupported Image type received: '<class 'str'>'"):
        Image().encode("x")
    with pytest.raises(InvalidArgument, match="Invalid Image pilmode 'X'"):
        Image(pilmode="X")
    with pytest.raises(InvalidArgument, match="Invalid Image mime_type 'text/plain'"):
        Image(mime_type="text/plain")


def test_images_from_a_sample(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(png())
    assert Image.from_sample(str(tmp_path / "p.png")).mime_type == "image/png"
    assert Image.from_sample(np.zeros((1, 1, 3), dtype="uint8")).mime_type == "image/jpeg"
    with pytest.raises(BadInput, match="Failed to parse sample image file"):
        Image.from_sample(io.BytesIO(b"x"))
    with pytest.raises(InvalidArgument, match="is not a valid image"):
        Image.from_sample(7)


# File


def test_files() -> None:
    file = File().decode(content(b"\x00\xff", "application/whatever"))
    assert (file.read(), file.name) == (b"\x00\xff", "<request body>")
    assert File().decode(content(b"x", None)).read() == b"x"
    assert encoded(File(), io.BytesIO(b"x")) == (b"x", {"content-type": "application/octet-stream"})
    assert encoded(File(mime_type="application/pdf"), b"x")[1] == {"content-type": "application/pdf"}
    with pytest.raises(AttributeError):
        File().encode("text")
    with pytest.raises(ValueError, match="invalid File kind 'textio'"):
        File(kind="textio")


def test_files_in_forms() -> None:
    pdf = ('name="f"; filename="a.pdf"\r\nContent-Type: application/pdf', b"%PDF")
    text = ('name="f"; filename="a.txt"\r\nContent-Type: text/plain', b"text")
    file = File(mime_type="application/pdf").decode(form(text, pdf))
    assert (file.read(), file.name) == (b"%PDF", "a.pdf")
    assert File().decode(form(text, pdf)).name == "a.txt"
    with pytest.raises(BentoMLException, match="no File found in multipart form"):
        File().decode(form(('name="a"', b"x")))
    for wrong in (form(text), content(b"x", "text/plain"), content(b"x", None)):
        with pytest.raises(BentoMLException, match="application/pdf") as caught:
            File(mime_type="application/pdf").decode(wrong)
        assert caught.value.error_code == 500


def test_files_from_a_sample(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    descriptor = File.from_sample(tmp_path / "a.pdf")
    assert descriptor.mime_type == "application/pdf"
    assert list(descriptor.openapi_request_body()["content"]) == ["application/pdf"]
    assert list(File().openapi_responses()["content"]) == ["*/*"]


# Multipart

PARTS = Multipart(array=NumpyNdarray(), note=Text())


def test_forms_are_read_by_name_else_by_place() -> None:
    for parts in (
        form(('name="note"', b"n"), ('name="array"', b"[1]")),
        form(('name="one"', b"[1]"), ('name="two"', b"n")),
        form(('name="array"', b"[2]"), ('name="array"', b"[1]"), ('name="note"', b"n")),
    ):
        value = PARTS.decode(parts)
        assert (value["array"].tolist(), value["note"]) == ([1], "n")
    with pytest.raises(BadInput, match="the form has no part for `note`"):
        PARTS.decode(form(('name="array"', b"[1]")))
    with pytest.raises(BadInput, match="closing boundary is missing"):
        PARTS.decode(content(b'--cut\r\nContent-Disposition: form-data; name="a"\r\n\r\n', FORM_TYPE))
    for wrong in (content(b"{}"), content(b"", None)):
        with pytest.raises(BentoMLException, match="only accepts `multipart/form-data`") as caught:
            PARTS.decode(wrong)
        assert caught.value.error_code == 500


def test_parts_have_their_own_content_type() -> None:
    descriptor = Multipart(frame=PandasDataFrame(), picture=Image(), file=File())
    value = descriptor.decode(
        form(
            ('name="frame"\r\nContent-Type: text/csv', b"a\n1\n"),
            ('name="picture"; filename="p.png"\r\nContent-Type: image/png', png()),
            ('name="file"; filename="a;b.txt"', b"x"),
        )
    )
    assert value["frame"].to_dict("list") == {"a": [1]}
    assert value["picture"].size == (2, 1)
    assert value["file"].name == "a;b.txt"


def test_forms_are_written_part_by_part() -> None:
    descriptor = Multipart(array=NumpyNdarray(), picture=Image(mime_type="image/png"))
    picture = pillow.open(io.BytesIO(png()))
    body, headers = encoded(descriptor, {"array": np.array([1]), "picture": picture})
    boundary = headers["content-type"].removeprefix("multipart/form-data; boundary=")
    assert len(boundary) == 32
    first, second = body.split(b"--" + boundary.encode())[1:3]
    assert first == (
        b'\r\nContent-Disposition: form-data; name="array"\r\ncontent-length: 3\r\n'
        b"content-type: application/json\r\n\r\n[1]\r\n"
    )
    assert b'form-data; name="picture"; filename="output.png"\r\n' in second
    assert body.endswith(f"--{boundary}--\r\n".encode())
    with pytest.raises(KeyError):
        descriptor.encode({"array": np.array([1])})


def test_forms_have_no_forms_inside() -> None:
    with pytest.raises(InvalidArgument, match="can not contain nested Multipart"):
        Multipart(inner=PARTS)
    with pytest.raises(NotImplementedError, match="not supported for Multipart"):
        Multipart.from_sample({})
    assert PARTS.openapi_schema()["properties"]["note"] == {"type": "string"}
    assert Multipart(field=JSON(pydantic_model=Field)).openapi_components().keys() == {"Field", "Flower"}


# SSE


def test_events_are_written_and_read() -> None:
    event = SSE(data="a\nb", event="word", id="7", retry=10)
    assert event.marshal() == "event: word\nid: 7\nretry: 10\ndata: a\ndata: b\n\n"
    with pytest.raises(BentoMLException, match="should not contain new line"):
        SSE(data="", event="a\nb").marshal()

    async def read(size: int) -> list[SSE]:
        text = event.marshal() + SSE(data="c").marshal()

        async def pieces() -> Any:
            for at in range(0, len(text), size):
                yield text[at : at + size]

        return [found async for found in SSE.from_iterator(pieces())]

    for size in (1, 5, 1000):
        assert asyncio.run(read(size)) == [event, SSE(data="c")]


def test_the_names_are_those_of_bentoml_io() -> None:
    assert bentoml.io.Text is Text
    assert {"IODescriptor", "SSE", "from_spec", *DESCRIPTORS} == set(bentoml.io.__all__)
    with pytest.raises(AttributeError, match="has no attribute Nothing"):
        _ = bentoml.io.Nothing
