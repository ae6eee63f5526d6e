"""Every kind of input, output and error, as users write them; upstream and ekiben both serve this file."""

from __future__ import annotations

import os
import time
import typing as t
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import bentoml
import numpy as np
import pandas as pd
import PIL.Image
from bentoml.exceptions import BadInput, BentoMLException, ServiceUnavailable
from bentoml.validators import ContentType, DataframeSchema, DType, Shape
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse

# Files that are sent are made at one time, so that both servers say the same of them.
MADE_AT = 1_700_000_000.5


class Forbidden(BentoMLException):
    error_code = HTTPStatus.FORBIDDEN


class Note(BaseModel):
    a: float
    b: int = 3


class Letter(BaseModel):
    text: str
    attachment: Path


@dataclass
class Point:
    x: int
    y: int


def describe(path: Path) -> dict[str, t.Any]:
    return {
        "content": path.read_bytes().decode("latin-1"),
        "name": path.name[-9:],
        "is_temporary": path.parent != Path.cwd() and path.parent.is_dir(),
    }


def picture(image: PIL.Image.Image) -> list[t.Any]:
    return [image.format, image.mode, list(image.size), list(image.convert("RGB").getpixel((0, 0)))]


def made(directory: str, name: str, content: bytes) -> Path:
    path = Path(directory, name)
    path.write_bytes(content)
    os.utime(path, (MADE_AT, MADE_AT))
    return path


@bentoml.service(name="Io", traffic={"timeout": 3}, workers=1, threads=4)
class Io:
    """Takes and gives everything."""

    # files

    @bentoml.api
    def path(self, f: Path) -> dict[str, t.Any]:
        return describe(f)

    @bentoml.api
    async def path_async(self, f: Path) -> dict[str, t.Any]:
        return describe(f)

    @bentoml.api
    def path_typed(self, f: Annotated[Path, ContentType("audio/*")]) -> dict[str, t.Any]:
        return describe(f)

    @bentoml.api
    def path_list(self, files: list[Path]) -> list[dict[str, t.Any]]:
        return [describe(file) for file in files]

    @bentoml.api
    def path_root(self, f: Path, /) -> dict[str, t.Any]:
        return {**describe(f), "name": ""}

    @bentoml.api
    def path_root_typed(self, f: Annotated[Path, ContentType("audio/mpeg")], /) -> dict[str, t.Any]:
        return {**describe(f), "name": ""}

    @bentoml.api
    def mixed(self, f: Path, n: int, text: str, tags: list[str], note: Note) -> list[t.Any]:
        return [describe(f), n, text, tags, note]

    @bentoml.api
    def letter(self, letter: Letter, /) -> list[t.Any]:
        return [letter.text, describe(letter.attachment)]

    @bentoml.api
    def kept(self, f: Path, ctx: bentoml.Context) -> list[str]:
        return [str(f), str(made(ctx.temp_dir, "mine.txt", b"mine"))]

    @bentoml.api
    def exist(self, paths: list[str]) -> list[bool]:
        return [os.path.exists(path) for path in paths]

    # images

    @bentoml.api
    def image(self, image: PIL.Image.Image) -> list[t.Any]:
        return picture(image)

    @bentoml.api
    def image_list(self, images: list[PIL.Image.Image]) -> list[t.Any]:
        return [picture(image) for image in images]

    @bentoml.api
    def image_optional(self, image: t.Optional[PIL.Image.Image] = None) -> list[t.Any]:  # noqa: UP045
        return [] if image is None else picture(image)

    @bentoml.api
    def image_root(self, image: PIL.Image.Image, /) -> list[t.Any]:
        return picture(image)

    @bentoml.api
    def flipped(self, image: PIL.Image.Image) -> PIL.Image.Image:
        return image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)

    # bytes and text

    @bentoml.api
    def raw(self, data: bytes) -> bytes:
        return data[::-1]

    @bentoml.api
    def raw_root(self, data: bytes, /) -> bytes:
        return data[::-1]

    @bentoml.api
    def text_root(self, text: str, /) -> str:
        return text

    # values

    @bentoml.api
    def note(self, note: Note) -> Note:
        return note

    @bentoml.api
    def note_root(self, note: Note, /) -> Note:
        return note

    @bentoml.api
    def point(self, point: Point) -> Point:
        return Point(point.y, point.x)

    @bentoml.api
    def default_root(self, n: int = 5, /) -> int:
        return n

    @bentoml.api
    def keywords(self, a: int, **kwargs: t.Any) -> dict[str, t.Any]:
        return {"a": a, "kwargs": kwargs}

    @bentoml.api
    def limits(self, n: Annotated[int, Field(ge=1, le=10)], kind: t.Literal["x", "y"] = "x") -> list[t.Any]:
        return [n, kind]

    @bentoml.api
    def array(self, x: Annotated[np.ndarray, Shape((2, 2)), DType("float32")]) -> np.ndarray:
        return x * 2

    @bentoml.api
    def frame(self, df: pd.DataFrame) -> pd.DataFrame:
        return df * 2

    @bentoml.api
    def frame_columns(
        self, df: Annotated[pd.DataFrame, DataframeSchema(orient="columns", columns=("a", "b"))]
    ) -> Annotated[pd.DataFrame, DataframeSchema(orient="columns")]:
        return df

    @bentoml.api
    def frame_root(self, df: pd.DataFrame, /) -> list[t.Any]:
        return [list(df.columns), len(df)]

    # outputs

    @bentoml.api
    def out_text(self, ctx: bentoml.Context) -> Path:
        return made(ctx.temp_dir, "out.txt", b"some text")

    @bentoml.api
    def out_picture(self, ctx: bentoml.Context) -> Path:
        return made(ctx.temp_dir, "picture.png", b"no picture")

    @bentoml.api
    def out_nameless(self, ctx: bentoml.Context) -> Path:
        return made(ctx.temp_dir, "data", b"\x00\x01")

    @bentoml.api
    def out_declared(self, ctx: bentoml.Context) -> Annotated[Path, ContentType("audio/mpeg")]:
        return made(ctx.temp_dir, "sound", b"no sound")

    @bentoml.api
    def out_foreign(self, ctx: bentoml.Context) -> Path:
        return made(ctx.temp_dir, "grüße 1.txt", b"x")

    @bentoml.api
    def out_large(self, ctx: bentoml.Context) -> Path:
        return made(ctx.temp_dir, "large.bin", bytes(range(256)) * 16384)

    @bentoml.api
    def out_unannotated(self, ctx: bentoml.Context):
        return made(ctx.temp_dir, "out.csv", b"a,b\n")

    @bentoml.api
    def out_context(self, ctx: bentoml.Context) -> Path:
        ctx.response.status_code = 201
        ctx.response.headers["x-made"] = "yes"
        return made(ctx.temp_dir, "out.json", b"{}")

    @bentoml.api
    def out_image(self, form: str = "") -> PIL.Image.Image:
        image = PIL.Image.new("RGB", (4, 3), (200, 10, 30))
        if form:
            image.format = form
        return image

    @bentoml.api
    def out_letter(self, f: Path) -> Letter:
        return Letter(text="t", attachment=f)

    @bentoml.api
    def out_missing(self) -> Path:
        return Path("/nowhere/at/all")

    @bentoml.api
    def out_html(self) -> Annotated[str, ContentType("text/html")]:
        return "<b>x</b>"

    @bentoml.api
    def out_response(self) -> t.Any:
        return PlainTextResponse("as it is", status_code=202, headers={"x-own": "1"})

    @bentoml.api
    async def out_json_response(self) -> t.Any:
        return JSONResponse({"a": 1})

    @bentoml.api
    def out_file_response(self, ctx: bentoml.Context) -> t.Any:
        return FileResponse(made(ctx.temp_dir, "sent.tmp", b"sent"), filename="sent.txt")

    @bentoml.api
    def out_streaming_response(self) -> t.Any:
        return StreamingResponse(iter([b"a", b"b"]), media_type="text/plain")

    @bentoml.api
    def out_items(self) -> t.Generator[dict[str, int], None, None]:
        for i in range(3):
            yield {"i": i}

    @bentoml.api
    async def out_lines(self) -> t.AsyncGenerator[str, None]:
        yield "a\n"
        yield "b\n"

    @bentoml.api
    def out_wrong(self) -> int:
        return "zzz"

    # errors

    @bentoml.api
    def fail(self, how: str) -> str:
        raise {
            "bad": BadInput("bad arg msg"),
            "forbidden": Forbidden("secret"),
            "busy": ServiceUnavailable("secret"),
            "value": ValueError("secret"),
            "http": HTTPException(404, "secret"),
        }[how]

    @bentoml.api
    def slow(self) -> str:
        time.sleep(4)
        return "late"
