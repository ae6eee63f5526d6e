"""Tasks of all kinds; upstream and ekiben both serve this file."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import bentoml
from bentoml.exceptions import BadInput


@bentoml.service(name="Jobs", workers=1)
class Jobs:
    @bentoml.task
    def double(self, n: int) -> int:
        return 2 * n

    @bentoml.task
    def reversed(self, text: str, /) -> str:
        return text[::-1]

    @bentoml.task(route="/v1/fail")
    def fail(self, how: str) -> str:
        raise BadInput("bad") if how == "bad" else ValueError("secret")

    @bentoml.task
    async def named(self, name: str, ctx: bentoml.Context) -> str:
        ctx.response.status_code = 201
        ctx.response.headers["x-name"] = name
        return ctx.request.headers.get("x-sent", "nothing")

    @bentoml.task
    async def wait(self, directory: str) -> str:
        """Waits for the file `go`, and leaves `stopped` when it is given up."""
        Path(directory, "begun").touch()
        try:
            while not os.path.exists(os.path.join(directory, "go")):
                await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            Path(directory, "stopped").touch()
            raise
        return "done"

    @bentoml.task
    def hold(self, directory: str) -> str:
        """The same, on a thread."""
        Path(directory, "held").touch()
        while not os.path.exists(os.path.join(directory, "go")):
            time.sleep(0.02)
        return "held"

    @bentoml.api
    def plain(self) -> str:
        return "plain"
