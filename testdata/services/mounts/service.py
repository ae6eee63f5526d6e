"""Applications of three kinds, mounted on a service; upstream and ekiben both serve this file."""

from __future__ import annotations

import contextlib
import typing as t

import bentoml
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

events: list[str] = []


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> t.AsyncIterator[None]:
    events.append("begun")
    yield


async def seen(request: Request) -> JSONResponse:
    body = (await request.body()).decode()
    return JSONResponse(
        {
            "method": request.method,
            "path": request.url.path,
            "root": request.scope["root_path"],
            "query": request.url.query,
            "name": request.path_params.get("name"),
            "sent": request.headers.get("x-sent"),
            "body": body,
            "events": events,
        },
        headers={"x-own": "1"},
    )


async def pieces(_: Request) -> StreamingResponse:
    return StreamingResponse(iter([b"a", b"b"]), media_type="text/plain")


async def fails(_: Request) -> PlainTextResponse:
    raise ValueError("secret")


root = Starlette(
    routes=[
        Route("/seen/{name}", seen, methods=["GET", "POST"]),
        Route("/pieces", pieces),
        Route("/fails", fails),
        Route("/slashed/", seen),
    ],
    lifespan=lifespan,
)


class Item(BaseModel):
    price: float


fast = FastAPI(title="Fast")


@fast.get("/items/{number}")
def item(number: int, q: str | None = None) -> dict[str, t.Any]:
    return {"number": number, "q": q}


@fast.post("/items")
async def add(item: Item) -> Item:
    return item


def plain(environ: dict[str, t.Any], start_response: t.Callable[..., t.Any]) -> t.Iterator[bytes]:
    body = environ["wsgi.input"].read()
    start_response(
        "201 Created", [("Content-Type", "text/plain"), ("X-Own", environ.get("HTTP_X_SENT", "-"))]
    )
    yield f"{environ['REQUEST_METHOD']} {environ['SCRIPT_NAME']} {environ['PATH_INFO']} ".encode("latin-1")
    yield environ["QUERY_STRING"].encode("latin-1") + b" " + body


@bentoml.service(name="Mounts", workers=1)
@bentoml.asgi_app(fast, path="/fast")
class Mounts:
    def __init__(self) -> None:
        self.greeting = "hello"

    @bentoml.api
    def echo(self, text: str) -> str:
        return text

    @fast.get("/greeting/{name}")
    def greet(self, name: str) -> str:
        return f"{self.greeting} {name}"


Mounts.mount_wsgi_app(plain, path="/wsgi")
Mounts.mount_asgi_app(root, path="/")
