"""An old-style service with every descriptor, which ekiben and upstream serve alike."""

import asyncio
import dataclasses
import os
from http import HTTPStatus

import numpy as np
import pandas as pd
from bentoml.exceptions import BentoMLException, InvalidArgument, NotFound, ServiceUnavailable
from bentoml.io import JSON, SSE, File, Image, Multipart, NumpyNdarray, PandasDataFrame, PandasSeries, Text
from bentoml.legacy import Runnable, Runner, Service
from pydantic import BaseModel


class Doubler(Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = True

    @Runnable.method(batchable=True, batch_dim=0)
    def double(self, array):
        return array * 2

    @Runnable.method
    def place(self):
        return os.getpid()

    @Runnable.method
    def fail(self):
        raise ValueError("in the runner")


class Flower(BaseModel):
    name: str
    petals: int = 5


@dataclasses.dataclass
class Point:
    x: int
    y: int


ERRORS = {
    "argument": InvalidArgument("no such thing: ä"),
    "missing": NotFound("gone"),
    "unauthorized": BentoMLException("who are you", error_code=HTTPStatus.UNAUTHORIZED),
    "unavailable": ServiceUnavailable("later"),
    "bug": ValueError("a detail for the log"),
}

doubler = Runner(Doubler, name="doubler")
svc = Service("every_descriptor", runners=[doubler])


async def mounted(scope, receive, send):
    headers = [(b"content-type", b"text/plain"), (b"x-answer", scope["root_path"].encode())]
    await send({"type": "http.response.start", "status": 203, "headers": headers})
    await send({"type": "http.response.body", "body": scope["path"].encode() + b"?" + scope["query_string"]})


svc.mount_asgi_app(mounted, path="/mounted")


@svc.on_startup
def remember(context):
    context.state["started"] = "yes"


@svc.api(input=Text(), output=Text())
def text(text: str) -> str:
    """Give a text back, louder."""
    return text + "!"


@svc.api(input=Text(), output=Text(), route="v1/deep/text")
async def deep_text(text):
    await asyncio.sleep(0)
    return text


@svc.api(input=Text(), output=Text(content_type="text/event-stream"))
async def events(text):
    for word in text.split():
        yield SSE(data=word, event="word").marshal()


@svc.api(input=Text(), output=Text())
def pieces(text):
    async def walk():
        for word in text.split():
            yield word

    return walk()


@svc.api(input=JSON(), output=JSON())
def json(value):
    return value


@svc.api(input=JSON(pydantic_model=Flower), output=JSON())
def flower(flower):
    return {"type": type(flower).__name__, "flower": flower}


@svc.api(input=JSON.from_sample({"a": 1}), output=JSON())
def kinds(value):
    return {
        "array": np.array([[1, 2]]),
        "scalar": np.float32(0.5),
        "point": Point(1, 2),
        "frame": pd.DataFrame({"a": [1, 2]}),
        "series": pd.Series([3]),
        "text": "ä",
    }


@svc.api(input=JSON(), output=JSON())
def odd(which):
    return {"none": None, "nan": float("nan"), "flower": Flower(name="iris"), "set": {1}}[which]


@svc.api(input=NumpyNdarray(), output=NumpyNdarray())
def array(array: np.ndarray) -> np.ndarray:
    return doubler.double.run(array)


@svc.api(
    input=NumpyNdarray(dtype="float32", enforce_dtype=True, shape=(-1, 2), enforce_shape=True),
    output=NumpyNdarray(dtype="float32"),
)
async def strict_array(array):
    return await doubler.double.async_run(array)


@svc.api(input=NumpyNdarray(dtype="int64", shape=(2, 2)), output=JSON())
def shaped_array(array):
    return {"shape": list(array.shape), "dtype": str(array.dtype)}


@svc.api(input=Text(), output=JSON())
async def places(text):
    return [os.getpid(), await doubler.place.async_run()]


@svc.api(input=Text(), output=Text())
def runner_fails(text):
    return doubler.fail.run()


@svc.api(input=PandasDataFrame(), output=PandasDataFrame())
def frame(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


@svc.api(
    input=PandasDataFrame(columns=["a", "b"], apply_column_names=True, shape=(-1, 2), enforce_shape=True),
    output=PandasDataFrame(orient="columns"),
)
def named_frame(frame):
    return frame


@svc.api(
    input=PandasDataFrame(orient="split", dtype={"a": "float64"}, enforce_dtype=True, default_format="csv"),
    output=PandasDataFrame(default_format="csv"),
)
def csv_frame(frame):
    return frame


@svc.api(input=PandasDataFrame(), output=PandasDataFrame())
def no_frame(frame):
    return "not a frame"


@svc.api(input=PandasSeries(), output=PandasSeries())
def series(series):
    return series


@svc.api(
    input=PandasSeries(dtype="float64", enforce_dtype=True, shape=(2,), enforce_shape=True),
    output=PandasSeries(orient="index"),
)
def strict_series(series):
    return series


@svc.api(input=Image(), output=Image(mime_type="image/png"))
def picture(picture):
    return picture.convert("L")


@svc.api(input=Image(allowed_mime_types=["image/png"]), output=JSON())
def png_size(picture):
    return list(picture.size)


@svc.api(input=Text(), output=Image())
def drawn(text):
    return "not a picture" if text else np.zeros((2, 3, 3), dtype="uint8")


@svc.api(input=File(), output=File())
def file(file):
    return file


@svc.api(input=File(mime_type="application/pdf"), output=File(mime_type="application/pdf"))
def pdf(file):
    return file.read()


@svc.api(input=Multipart(array=NumpyNdarray(), note=Text()), output=JSON())
def form(array, note):
    return {"sum": int(array.sum()), "note": note}


@svc.api(
    input=Multipart(picture=Image(), flower=JSON(pydantic_model=Flower)),
    output=Multipart(size=NumpyNdarray(), name=Text(), data=File(), picture=Image(mime_type="image/png")),
)
async def forms(picture, flower, context):
    return {"size": np.array(picture.size), "name": flower.name, "data": b"\x00\xff", "picture": picture}


@svc.api(input=Text(), output=JSON())
def headers(text, ctx):
    ctx.response.status_code = 201
    ctx.response.headers["x-answer"] = text
    ctx.response.headers["content-type"] = "application/vnd.answer+json"
    ctx.response.set_cookie("seen", "yes")
    seen = ctx.request.headers.get("x-question")
    return {"seen": seen, "q": ctx.request.query_params.get("q"), "started": ctx.state["started"]}


@svc.api(input=Text(), output=Text())
def fails(text):
    raise ERRORS[text]
