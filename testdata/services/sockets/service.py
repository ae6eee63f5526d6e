"""WebSockets in an application of FastAPI, and in the body of the service's class."""

import asyncio
import os

import bentoml
from fastapi import FastAPI, WebSocket, WebSocketException
from starlette.responses import PlainTextResponse

app = FastAPI()
# What became of WebSockets, for those who ask.
LOG = []


@app.get("/log")
def log() -> list:
    return LOG


@app.websocket("/echo")
async def echo(ws: WebSocket):
    """Gives every message back, and takes note of the end."""
    await ws.accept()
    while True:
        message = await ws.receive()
        if message["type"] == "websocket.disconnect":
            LOG.append([message.get("code"), message.get("reason")])
            return
        if message.get("text") is not None:
            await ws.send_text(message["text"])
        else:
            await ws.send_bytes(message["bytes"])


@app.websocket("/size")
async def size(ws: WebSocket):
    """Tells how long the message is."""
    await ws.accept()
    await ws.send_text(str(len(await ws.receive_bytes())))
    await ws.close()


@app.websocket("/request/{room}")
async def request(ws: WebSocket, room: str):
    """Tells what it knows of the request."""
    known = ws.scope["subprotocols"]
    await ws.accept(subprotocol="v1" if "v1" in known else None, headers=[(b"x-own", b"yes")])
    await ws.send_json(
        {
            "room": room,
            "path": ws.scope["path"],
            "query": ws.scope["query_string"].decode(),
            "scheme": ws.scope["scheme"],
            "subprotocols": known,
            "client": ws.client.host,
            "token": ws.headers.get("x-token"),
        }
    )
    await ws.close(4001, "told")


@app.websocket("/close")
async def close(ws: WebSocket):
    """Refuses."""
    await ws.close()


@app.websocket("/deny")
async def deny(ws: WebSocket):
    """Refuses with an answer."""
    await ws.send_denial_response(PlainTextResponse("no room", status_code=418, headers={"x-why": "full"}))


@app.websocket("/policy")
async def policy(ws: WebSocket):
    """Refuses with an exception."""
    raise WebSocketException(code=1008, reason="not you")


@app.websocket("/raise")
async def raise_at_once(ws: WebSocket):
    raise ValueError("before")


@app.websocket("/raise-later")
async def raise_later(ws: WebSocket):
    await ws.accept()
    await ws.send_text("first")
    raise ValueError("after")


@app.websocket("/return")
async def return_at_once(ws: WebSocket):
    pass


@app.websocket("/leave")
async def leave(ws: WebSocket):
    await ws.accept()
    await ws.send_text("first")


@app.websocket("/flood")
async def flood(ws: WebSocket):
    """Sends more than anyone wants."""
    await ws.accept()
    sent = 0
    try:
        while True:
            await ws.send_bytes(b"x" * 100_000)
            sent += 1
    finally:
        LOG.append(["flood", sent])


@app.websocket("/deaf")
async def deaf(ws: WebSocket):
    """Says something, and listens to nobody."""
    await ws.accept()
    await ws.send_text("first")
    await asyncio.sleep(float(ws.query_params["seconds"]))
    LOG.append(["deaf", await ws.receive_bytes() == bytes(1_000_000)])


@app.websocket("/pid")
async def pid(ws: WebSocket):
    """Tells its process, and stays."""
    await ws.accept()
    await ws.send_text(str(os.getpid()))
    async for text in ws.iter_text():
        await ws.send_text(text)


@bentoml.service(threads=1, path_prefix=os.environ.get("PREFIX"))
@bentoml.asgi_app(app, path="/ws")
class Chat:
    name = "chat"

    @bentoml.api
    def hello(self, who: str = "you") -> str:
        return f"hello {who}"

    @app.websocket("/self")
    async def own(self, ws: WebSocket):
        """Knows the instance."""
        await ws.accept()
        await ws.send_text(self.name)
        await ws.close()
