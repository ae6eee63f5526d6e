"""The service that upstream and ekiben both serve; everything here is written as a user of upstream writes it."""

from __future__ import annotations

import datetime
import enum
import typing as t
from dataclasses import dataclass
from typing import Annotated

import bentoml
import numpy as np
import numpy.typing as npt
from bentoml.exceptions import BadInput, BentoMLException, InvalidArgument, NotFound, ServiceUnavailable
from bentoml.validators import ContentType, DType, Shape
from pydantic import BaseModel, Field
from typing_extensions import Literal


class Unauthorized(BentoMLException):
    error_code = __import__("http").HTTPStatus.UNAUTHORIZED


class Colour(str, enum.Enum):
    RED = "red"
    BLUE = "blue"


class Item(BaseModel):
    """An item."""

    a: float
    b: int = 3
    note: t.Optional[str] = None
    tags: t.List[str] = Field(default_factory=list, max_length=3)


class Basket(BaseModel):
    items: t.List[Item]
    first: Item
    extra: t.Dict[str, int] = {}


@dataclass
class Point:
    x: int
    y: int


@bentoml.service(name="Interop", traffic={"timeout": 30}, workers=1)
class Interop:
    """Says what upstream says."""

    # parameters

    @bentoml.api
    def add(self, a: int, b: int = 1) -> int:
        """Adds two numbers."""
        return a + b

    @bentoml.api(route="/v1/renamed")
    def renamed(self, text: str = "x") -> str:
        return text

    @bentoml.api
    def constrained(self, n: Annotated[int, Field(ge=1, le=10)], colour: Colour, mode: Literal["x", "y"] = "x") -> str:
        return f"{n} {colour.value} {mode}"

    @bentoml.api
    def field_default(self, n: int = Field(default=5, ge=0, description="A number.")) -> int:
        return n

    @bentoml.api
    def optional(self, text: t.Optional[str] = None, number: t.Union[int, str] = 0) -> t.List[t.Any]:
        return [text, number]

    @bentoml.api
    def untyped(self, value):
        return value

    @bentoml.api
    def keywords(self, a: int, **kwargs: t.Any) -> t.Dict[str, t.Any]:
        return {"a": a, "kwargs": kwargs}

    @bentoml.api
    def no_parameters(self) -> str:
        return "nothing"

    @bentoml.api
    def item_parameter(self, item: Item) -> Item:
        return item

    @bentoml.api
    def times(self, when: datetime.datetime, day: datetime.date) -> t.List[t.Any]:
        return [when, day]

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=32)
    def many(self, texts: t.List[str]) -> t.List[str]:
        return [text.upper() for text in texts]

    # root inputs

    @bentoml.api
    def root_text(self, text: str, /) -> str:
        return text

    @bentoml.api
    def root_item(self, item: Item, /) -> Item:
        return item

    @bentoml.api
    def root_basket(self, basket: Basket, /) -> int:
        return len(basket.items)

    @bentoml.api
    def root_list(self, values: t.List[int], /) -> t.List[int]:
        return values

    @bentoml.api
    def root_array(self, x: np.ndarray, /) -> np.ndarray:
        return x * 2

    # arrays

    @bentoml.api
    def array(self, x: np.ndarray) -> np.ndarray:
        return x

    @bentoml.api
    def shaped(
        self, x: Annotated[np.ndarray, Shape((2, 2)), DType("float32")]
    ) -> Annotated[np.ndarray, DType("float32"), Shape((2, 2))]:
        return x

    @bentoml.api
    def typed_array(self, x: npt.NDArray[np.int64]) -> t.Dict[str, t.Any]:
        return {"dtype": str(x.dtype), "shape": x.shape, "sum": int(x.sum())}

    @bentoml.api
    def arrays(self, xs: t.List[np.ndarray], y: t.Optional[np.ndarray] = None) -> t.Dict[str, t.List[float]]:
        return {"xs": [float(x.sum()) for x in xs], "y": [] if y is None else y.tolist()}

    # outputs

    @bentoml.api
    def out_nan(self) -> t.List[float]:
        return [float("nan"), float("inf"), 1.5]

    @bentoml.api
    def out_nan_array(self) -> np.ndarray:
        return np.array([np.nan, 1.0])

    @bentoml.api
    def out_nan_model(self) -> Item:
        return Item(a=float("nan"))

    @bentoml.api
    def out_none(self) -> None:
        return None

    @bentoml.api
    def out_optional(self) -> t.Optional[str]:
        return None

    @bentoml.api
    def out_tuple(self) -> t.Tuple[int, str]:
        return (1, "ä")

    @bentoml.api
    def out_text(self) -> str:
        return "grüße"

    @bentoml.api
    def out_bytes(self) -> bytes:
        return b"\x00\xff raw"

    @bentoml.api
    def out_html(self) -> Annotated[str, ContentType("text/html")]:
        return "<b>x</b>"

    @bentoml.api
    def out_point(self) -> Point:
        return Point(1, 2)

    @bentoml.api
    def out_items(self) -> t.List[Item]:
        return [Item(a=1), Item(a=2, note="n")]

    @bentoml.api
    def out_basket(self) -> Basket:
        return Basket(items=[Item(a=1)], first=Item(a=2), extra={"k": 1})

    @bentoml.api
    def out_untyped_text(self):
        return "plain"

    @bentoml.api
    def out_union(self) -> t.Union[int, str]:
        return "u"

    @bentoml.api
    def out_enum(self) -> Colour:
        return Colour.BLUE

    @bentoml.api
    def out_time(self) -> datetime.datetime:
        return datetime.datetime(2026, 1, 2, 3, 4, 5)

    @bentoml.api
    def out_floats(self) -> t.List[float]:
        return [1, 0.1, 1e-7, 1e22]

    @bentoml.api
    def out_bool(self) -> bool:
        return True

    @bentoml.api
    def out_invalid(self) -> int:
        return "no number"

    @bentoml.api
    def out_untyped_array(self):
        return {"a": np.arange(1, 3)}

    # errors

    @bentoml.api
    def fails_inside(self) -> Item:
        return Item(a="no number")

    @bentoml.api
    def fail(self, how: str) -> str:
        raise {
            "bad": BadInput("bad input"),
            "argument": InvalidArgument('quotes " and ä'),
            "missing": NotFound("not there"),
            "busy": ServiceUnavailable("secret"),
            "unauthorized": Unauthorized("secret"),
            "teapot": BentoMLException("teapot", error_code=__import__("http").HTTPStatus.IM_A_TEAPOT),
            "value": ValueError("secret"),
        }[how]

    # streams

    @bentoml.api
    def stream_text(self, n: int = 3) -> t.Generator[str, None, None]:
        for i in range(n):
            yield f"data: {i}\n\n"

    @bentoml.api
    async def stream_dicts(self) -> t.AsyncGenerator[t.Dict[str, int], None]:
        for i in range(3):
            yield {"i": i}

    @bentoml.api
    async def stream_items(self) -> t.AsyncGenerator[Item, None]:
        yield Item(a=1)
        yield Item(a=2)

    @bentoml.api
    def stream_plain(self) -> t.Iterator[bytes]:
        yield b"a"
        yield b"b"

    @bentoml.api
    def stream_fails(self) -> t.Generator[str, None, None]:
        raise NotFound("before the first item")
        yield ""

    # context

    @bentoml.api
    async def context(self, name: str, ctx: bentoml.Context) -> str:
        ctx.response.status_code = 201
        ctx.response.headers["X-Custom"] = name
        ctx.response.set_cookie("session", "abc", max_age=60, httponly=True)
        request = ctx.request
        return "|".join(
            [
                request.headers["X-Sent"],
                request.headers.get("missing", "-"),
                request.query_params["q"],
                request.cookies["c"],
                request.method,
            ]
        )

    @bentoml.api
    async def context_untyped(self, context) -> t.List[str]:
        context.state["n"] = context.state.get("n", 0) + 1
        return sorted(context.state)
