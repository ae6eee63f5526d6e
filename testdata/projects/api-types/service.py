from __future__ import annotations
import typing as t
from pathlib import Path
import bentoml
import numpy as np
from pydantic import BaseModel, Field
from bentoml.models import BentoModel
from typing import Annotated, Literal, Optional, Union
from bentoml.validators import Shape, DType


class Item(BaseModel):
    """An item."""

    name: str
    size: int = 3
    tags: list[str] = []
    note: Optional[str] = None
    kind: Literal["a", "b"] = "a"
    score: float = Field(0.5, ge=0, le=1, description="Score")


class Result(BaseModel):
    ok: bool
    item: Item


@bentoml.service(resources={"cpu": "200m"}, traffic={"timeout": 30})
class Embedder:
    @bentoml.api
    def embed(self, text: str) -> list[float]:
        return []


@bentoml.service(workers=2, labels={"owner": "me"}, envs=[{"name": "A", "value": "1"}])
class MyClassifier:
    """Doc of classifier."""

    model = BentoModel("iris:latest")
    embedder = bentoml.depends(Embedder)

    @bentoml.api(batchable=True)
    def classify(self, x: np.ndarray) -> np.ndarray:
        """Does things."""
        return x

    @bentoml.api(route="/v1/add")
    def add(
        self,
        a: int,
        b: int = 1,
        c: t.Optional[float] = None,
        d: Union[int, str] = 3,
        e: dict[str, float] = {},
        f: bool = False,
        g: t.Any = None,
        h=3,
        i: list = [1],
    ) -> int:
        return a

    @bentoml.api
    def tens(
        self, x: Annotated[np.ndarray, Shape((1, 4)), DType("float32")], y: Literal["a", 1]
    ) -> Annotated[np.ndarray, DType("int64")]:
        return x

    @bentoml.api
    def item(self, item: Item, ctx: bentoml.Context, items: list[Item] = []) -> Result:
        return x

    @bentoml.api
    def root(self, item: Item, /) -> str:
        return x

    @bentoml.api
    def rootd(self, items: list[Item], /) -> Item:
        return x

    @bentoml.api
    def files(self, p: Path, q: Annotated[Path, bentoml.validators.ContentType("image/png")]) -> Path:
        return x

    @bentoml.api
    async def stream(
        self, prompt: str = Field(description="the prompt", default="hi")
    ) -> t.AsyncGenerator[str, None]:
        yield ""

    @bentoml.task
    def job(self, n: int) -> None:
        pass

    @bentoml.api
    def kw(self, *args: int, **kwargs: t.Any):
        pass

    @bentoml.api
    def nothing(self) -> dict:
        pass

    @bentoml.api
    def nd(
        self,
        x: "np.ndarray",
        y: t.List[np.ndarray],
        z: t.Dict[str, int],
        u: t.Tuple[int, str],
        v: tuple[int, ...],
        w: set[int],
        b: bytes,
        n: None = None,
    ) -> t.Dict[str, t.Any]:
        pass
