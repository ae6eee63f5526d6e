"""Middlewares of every kind around APIs, tasks, mounted applications, pages and WebSockets."""

import asyncio
from collections.abc import AsyncGenerator

import bentoml
import numpy as np
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute

# What the middlewares saw, for those who ask.
SEEN = []


class Plain:
    """Of ASGI alone: changes paths, headers, bodies and answers, and stops some."""

    def __init__(self, app, name):
        self.app = app
        self.name = name

    async def __call__(self, scope, receive, send):
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if headers.get(b"x-stop") == self.name.encode():
            await PlainTextResponse(f"stopped by {self.name}", status_code=418)(scope, receive, send)
            return
        if headers.get(b"x-raise") == self.name.encode():
            raise ValueError("from a middleware")
        if scope["path"].startswith("/alias/"):
            scope = {**scope, "path": scope["path"].removeprefix("/alias")}
        scope["headers"] = [*scope["headers"], (b"x-added", self.name.encode())]
        scope.setdefault("state", {})["name"] = self.name

        async def changed():
            message = await receive()
            if headers.get(b"x-replace") and message["type"] == "http.request":
                message = {**message, "body": message.get("body", b"").replace(b"before", b"after")}
            return message

        async def sent(message):
            if message["type"] in ("http.response.start", "websocket.accept"):
                message = {**message, "headers": [*message.get("headers", []), (b"x-by", self.name.encode())]}
                if headers.get(b"x-status") and message["type"] == "http.response.start":
                    message["status"] = int(headers[b"x-status"])
            await send(message)

        await self.app(scope, changed, sent)


async def watch(request, call_next):
    """Sees answers, and catches what applications raise."""
    try:
        response = await call_next(request)
    except KeyError as error:
        return JSONResponse({"caught": str(error)}, status_code=409)
    SEEN.append([request.method, request.url.path, response.status_code])
    response.headers["x-watched"] = request.state.name
    return response


async def page(request):
    return JSONResponse(
        {"path": request.url.path, "added": request.headers.getlist("x-added"), "state": request.state.name}
    )


async def fails(_):
    raise KeyError("the key")


async def breaks(_):
    raise ValueError("the value")


async def seen(_):
    return JSONResponse(SEEN)


async def socket(ws):
    await ws.accept()
    await ws.send_json([value.decode() for name, value in ws.scope["headers"] if name == b"x-added"])
    await ws.close()


ROUTES = [
    Route("/page", page),
    Route("/fails", fails),
    Route("/breaks", breaks),
    Route("/seen", seen),
    WebSocketRoute("/socket", socket),
]


@bentoml.service(traffic={"timeout": 5})
@bentoml.asgi_app(Starlette(routes=ROUTES), path="/app")
class Surrounded:
    @bentoml.api
    def hello(self, who: str = "you") -> str:
        return f"hello {who}"

    @bentoml.api
    def context(self, ctx: bentoml.Context) -> dict:
        ctx.response.headers["x-own"] = "yes"
        ctx.response.status_code = 201
        return {"added": ctx.request.headers["x-added"], "state": ctx.request.state.name}

    @bentoml.api
    def double(self, data: np.ndarray) -> np.ndarray:
        return data * 2

    @bentoml.api(batchable=True)
    def merged(self, texts: list[str]) -> list[str]:
        return [text.upper() for text in texts]

    @bentoml.api
    def fail(self) -> str:
        raise bentoml.exceptions.NotFound("nothing there")

    @bentoml.api
    def count(self, to: int = 3) -> AsyncGenerator[str, None]:
        for number in range(to):
            yield f"{number}\n"

    @bentoml.api
    async def slow(self, seconds: float = 0.1) -> str:
        await asyncio.sleep(seconds)
        return "done"

    @bentoml.api
    def large(self, size: int = 100) -> str:
        return "x" * size

    @bentoml.task
    def later(self, text: str, ctx: bentoml.Context) -> dict:
        return {"text": text, "task_id": ctx.request.state.task_id}


Surrounded.add_asgi_middleware(Plain, name="outer")
Surrounded.add_asgi_middleware(BaseHTTPMiddleware, dispatch=watch)
Surrounded.add_asgi_middleware(GZipMiddleware, minimum_size=5000)
Surrounded.add_asgi_middleware(Plain, name="inner")
