"""A service of functions whose runners compute in workers of their own."""

import asyncio
import os
import time

import bentoml
from bentoml.io import JSON, NumpyNdarray, Text


class Model(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = True

    def __init__(self, factor: int = 1) -> None:
        self.factor = factor
        self.sizes: list[int] = []

    @bentoml.Runnable.method(batchable=True, batch_dim=0)
    def scale(self, rows):
        self.sizes.append(len(rows))
        time.sleep(0.05)
        return rows * self.factor

    @bentoml.Runnable.method(batchable=True, batch_dim=(1, 0))
    def columns(self, table):
        self.sizes.append(table.shape[1])
        time.sleep(0.05)
        return table.sum(axis=0)

    @bentoml.Runnable.method(batchable=True, batch_dim=0)
    def pairs(self, left, right):
        self.sizes.append(len(left))
        return left + right, [str(value) for value in left]

    @bentoml.Runnable.method
    def where(self) -> dict:
        return {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS"), "factor": self.factor}

    @bentoml.Runnable.method
    def seen(self) -> list:
        sizes, self.sizes = self.sizes, []
        return sizes

    @bentoml.Runnable.method
    def fail(self, text: str):
        if text == "missing":
            raise bentoml.exceptions.NotFound("nothing of that name")
        raise ValueError(f"cannot use {text}")

    @bentoml.Runnable.method
    async def later(self, text: str) -> str:
        await asyncio.sleep(0)
        return text.upper()

    @bentoml.Runnable.method
    def letters(self, text: str):
        yield from text

    @bentoml.Runnable.method
    def die(self):
        os._exit(1)


class OneThread(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = False

    @bentoml.Runnable.method
    def threads(self) -> str:
        return os.environ["OMP_NUM_THREADS"]


model = bentoml.Runner(Model, name="model", runnable_init_params={"factor": 2})
other = bentoml.Runner(Model, name="other", runnable_init_params={"factor": 10}, max_batch_size=4)
single = bentoml.Runner(OneThread, name="single")
inside = bentoml.Runner(Model, name="inside", embedded=True)
svc = bentoml.Service("runners", runners=[model, other, single, inside])


@svc.api(input=NumpyNdarray(), output=NumpyNdarray())
def scale(rows):
    return model.scale.run(rows)


@svc.api(input=NumpyNdarray(), output=NumpyNdarray())
async def both(rows):
    prepared = await model.scale.async_run(rows)
    first, second = await asyncio.gather(model.scale.async_run(prepared), other.scale.async_run(prepared))
    return first + second


@svc.api(input=NumpyNdarray(), output=NumpyNdarray())
def columns(table):
    return model.columns.run(table)


@svc.api(input=NumpyNdarray(), output=JSON())
def pairs(rows):
    total, texts = model.pairs.run(rows, right=rows)
    return {"total": total, "texts": texts}


@svc.api(input=Text(), output=JSON())
def where(_text):
    found = {runner.name: runner.where.run() for runner in (model, other, inside)}
    return {"api": os.getpid(), "single": single.threads.run(), **found}


@svc.api(input=Text(), output=JSON())
def seen(_text):
    return {"model": model.seen.run(), "other": other.seen.run()}


@svc.api(input=Text(), output=JSON())
def fail(text):
    return model.fail.run(text)


@svc.api(input=Text(), output=Text())
async def later(text):
    return await model.later.async_run(text)


@svc.api(input=Text(), output=Text())
async def letters(text):
    return model.letters.async_stream(text)


@svc.api(input=Text(), output=JSON())
def die(_text):
    return model.die.run()
