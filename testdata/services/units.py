"""Services that call one another, and APIs whose calls are merged."""

import asyncio
import os
import time
from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import ContentType


@bentoml.service(workers=2)
class Inner:
    @bentoml.api
    def double(self, x: int) -> int:
        return 2 * x

    @bentoml.api
    async def shout(self, text: str) -> str:
        await asyncio.sleep(0)
        return text.upper()

    @bentoml.api
    def large(self, a: np.ndarray) -> np.ndarray:
        return a + 1

    @bentoml.api
    def missing(self) -> int:
        raise bentoml.exceptions.NotFound("no such thing")

    @bentoml.api
    def broken(self) -> int:
        raise ValueError("a detail of the inner service")

    @bentoml.api
    def count(self, n: int):
        for number in range(n):
            yield f"{number}\n"

    @bentoml.api
    def pid(self) -> int:
        return os.getpid()


@bentoml.service
class Outer:
    inner = bentoml.depends(Inner)

    @bentoml.api
    def plus_one(self, x: int) -> int:
        return self.inner.double(x) + 1

    @bentoml.api
    async def shout(self, texts: list[str]) -> list[str]:
        return list(await asyncio.gather(*(self.inner.shout(text) for text in texts)))

    @bentoml.api
    async def in_other_style(self, x: int) -> int:
        return await self.inner.to_async.double(x)

    @bentoml.api
    async def would_block(self, x: int) -> int:
        return self.inner.double(x)

    @bentoml.api
    def large(self, n: int) -> float:
        return float(self.inner.large(np.zeros(n)).sum())

    @bentoml.api
    def missing(self) -> int:
        return self.inner.missing()

    @bentoml.api
    def broken(self) -> int:
        return self.inner.broken()

    @bentoml.api
    def pid(self) -> int:
        return self.inner.pid()

    @bentoml.api
    def wrong(self) -> int:
        return self.inner.double("no number")

    @bentoml.api
    def no_api(self) -> int:
        return self.inner.nothing()

    @bentoml.api
    def count(self, n: int):
        yield from self.inner.count(n)


@bentoml.service
class Merging:
    def __init__(self) -> None:
        self.sizes: list[int] = []

    @bentoml.api(batchable=True, max_batch_size=8)
    def rows(self, data: np.ndarray) -> np.ndarray:
        self.sizes.append(len(data))
        time.sleep(0.05)
        if (data < 0).any():
            raise ValueError("negative")
        return data.sum(axis=1)

    @bentoml.api(batchable=True, max_batch_size=8)
    async def texts(self, texts: list[str]) -> list[str]:
        self.sizes.append(len(texts))
        await asyncio.sleep(0.05)
        if "bad" in texts:
            raise bentoml.exceptions.InvalidArgument("a bad text")
        return [text.upper() for text in texts]

    @bentoml.api(batchable=True)
    def loses_rows(self, data: np.ndarray) -> np.ndarray:
        return data[1:]

    @bentoml.api(batchable=True, max_batch_size=8)
    def in_place(self, data: np.ndarray) -> np.ndarray:
        time.sleep(0.05)
        data *= 2
        if (data < 0).any():
            raise bentoml.exceptions.InvalidArgument("negative")
        return data

    @bentoml.api(batchable=True)
    def halves(self, data: np.ndarray) -> np.ndarray:
        return data.astype(np.float16)

    @bentoml.api(batchable=True)
    def declared(self, data: np.ndarray) -> Annotated[np.ndarray, ContentType("application/x-rows")]:
        return data

    @bentoml.api(batchable=True)
    def undeclared(self, data: np.ndarray) -> list[int]:
        return data

    @bentoml.api(batchable=True, batch_dim=(1, 0), max_batch_size=100)
    def columns(self, data: np.ndarray) -> np.ndarray:
        time.sleep(0.05)
        return data.sum(axis=0)

    @bentoml.api(batchable=True, max_latency_ms=300, max_batch_size=4)
    def slow(self, data: np.ndarray) -> np.ndarray:
        time.sleep(1)
        return data

    @bentoml.api
    def seen(self) -> list[int]:
        sizes, self.sizes = self.sizes, []
        return sizes
