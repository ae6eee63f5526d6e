"""A service of functions with every descriptor that clients of the older kind know, as a user writes it."""

from __future__ import annotations

import bentoml
from bentoml.io import JSON, File, Image, Multipart, NumpyNdarray, PandasDataFrame, PandasSeries, Text

svc = bentoml.legacy.Service("old_clients", runners=[])


@svc.api(input=NumpyNdarray(dtype="float32", shape=(-1, 2)), output=NumpyNdarray())
def double(x):
    return x * 2


@svc.api(input=JSON(), output=JSON())
def swap(value):
    return {str(item): key for key, item in value.items()}


@svc.api(input=Text(), output=Text(), route="deep/shout")
def shout(text):
    return text.upper()


@svc.api(input=PandasDataFrame(orient="records"), output=PandasDataFrame(orient="records"))
def frame(df):
    return df * 2


@svc.api(input=PandasSeries(dtype="float"), output=JSON())
def total(series):
    return float(series.sum())


@svc.api(input=Image(mime_type="image/png"), output=Image(mime_type="image/png"))
def turn(image):
    return image.rotate(90, expand=True)


@svc.api(input=File(), output=Text())
def length(file):
    return str(len(file.read()))


@svc.api(input=Multipart(x=NumpyNdarray(), label=Text()), output=JSON())
def named(x, label):
    return {label: x.tolist()}


@svc.api(input=Text(), output=Text())
def fail(text):
    raise bentoml.exceptions.InvalidArgument(f"not {text}")
