"""A service with everything that clients send and get, as a user of upstream writes it."""

from __future__ import annotations

import asyncio
import typing as t
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import bentoml
import numpy as np
import pandas as pd
from bentoml.exceptions import BentoMLException, InvalidArgument, NotFound, ServiceUnavailable
from bentoml.validators import DType, Shape
from PIL import Image
from pydantic import BaseModel


class Item(BaseModel):
    a: float
    note: t.Union[str, None] = None  # noqa: UP007 (an annotation that pydantic evaluates)
    tags: list[str] = []


@bentoml.service(name="Clients", traffic={"timeout": 30}, workers=1, threads=4)
class Clients:
    @bentoml.api
    def add(self, a: int, b: int = 1) -> int:
        """Adds two numbers."""
        return a + b

    @bentoml.api(route="/v1/say")
    def say(self, text: str = "x") -> str:
        return text.upper()

    @bentoml.api
    def request(self, text: str) -> str:
        return f"requested {text}"

    @bentoml.api
    def raw(self) -> bytes:
        return b"\x00\xff raw"

    @bentoml.api
    def nothing(self) -> None:
        return None

    @bentoml.api
    def item(self, item: Item) -> Item:
        return item

    @bentoml.api
    def items(self, items: list[Item], first: t.Union[Item, None] = None) -> list[Item]:  # noqa: UP007
        return [*items, first] if first else items

    @bentoml.api
    def untyped(self, value):
        return value

    @bentoml.api
    def keywords(self, a: int, **kwargs: t.Any) -> dict[str, t.Any]:
        return {"a": a, "kwargs": kwargs}

    @bentoml.api
    def root_text(self, text: str, /) -> str:
        return text

    @bentoml.api
    def root_item(self, item: Item, /) -> Item:
        return item

    @bentoml.api
    def root_list(self, values: list[int], /) -> list[int]:
        return values

    @bentoml.api
    def root_array(self, x: np.ndarray, /) -> np.ndarray:
        return x * 2

    @bentoml.api
    def root_file(self, file: Path, /) -> str:
        return f"{file.suffix} {len(file.read_bytes())}"

    @bentoml.api
    def array(
        self, x: Annotated[np.ndarray, Shape((2, 2)), DType("float32")]
    ) -> Annotated[np.ndarray, Shape((2, 2)), DType("float32")]:
        return x + 1

    @bentoml.api
    def arrays(self, xs: list[np.ndarray]) -> list[float]:
        return [float(x.sum()) for x in xs]

    @bentoml.api
    def frame(self, df: pd.DataFrame) -> pd.DataFrame:
        return df * 2

    @bentoml.api
    def file(self, file: Path, label: str = "none", n: int = 0) -> str:
        return f"{label} {n} {file.name[-5:]} {file.read_text()}"

    @bentoml.api
    def files(self, files: list[Path]) -> list[str]:
        return [path.read_text() for path in files]

    @bentoml.api
    def make_file(self, text: str, ctx: bentoml.Context) -> Path:
        path = Path(ctx.temp_dir) / "made file.txt"
        path.write_text(text)
        return path

    @bentoml.api
    def turn(self, image: Image.Image) -> Image.Image:
        turned = image.rotate(90, expand=True)
        turned.format = image.format
        return turned

    @bentoml.api
    def size(self, image: Image.Image, scale: float = 1.0) -> list[float]:
        return [image.width * scale, image.height * scale]

    @bentoml.api
    def stream_text(self, n: int = 3) -> t.Generator[str, None, None]:
        for i in range(n):
            yield f"data: {i} ä\n\n"

    @bentoml.api
    async def stream_dicts(self, n: int = 3) -> t.AsyncGenerator[dict[str, int], None]:
        for i in range(n):
            yield {"i": i}
            await asyncio.sleep(0.01)

    @bentoml.api
    async def stream_bytes(self) -> t.AsyncGenerator[bytes, None]:
        yield b"\x00\xff"

    @bentoml.api
    def fail(self, how: str) -> str:
        raise {
            "argument": InvalidArgument('quotes " and ä'),
            "missing": NotFound("not there"),
            "busy": ServiceUnavailable("secret"),
            "teapot": BentoMLException("teapot", error_code=HTTPStatus.IM_A_TEAPOT),
            "value": ValueError("secret"),
        }[how]

    @bentoml.api
    def fail_stream(self) -> t.Generator[str, None, None]:
        raise NotFound("before the first item")
        yield ""

    @bentoml.api
    def authorization(self, ctx: bentoml.Context) -> str:
        return ctx.request.headers.get("authorization", "none")

    @bentoml.task
    def work(self, x: int) -> np.ndarray:
        if x < 0:
            raise InvalidArgument("x must not be negative")
        return np.array([x, x * x])

    @bentoml.task
    async def wait(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "waited"
