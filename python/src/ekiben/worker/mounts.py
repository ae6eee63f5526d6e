"""Requests for mounted applications: which one answers, its life, and what the front does when none answers."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from ..services.mounts import Mount, is_starlette
from .answers import Answer
from .asgi import Receiver, Sender, request_scope

if TYPE_CHECKING:
    from ..services.loader import AnyService
    from .calls import Call
    from .channel import Channel

logger = logging.getLogger("bentoml.serve")

# The endpoint that stands for all mounted applications; no API can have this name.
ENDPOINT = ":mounts"
# Tells the front that no application answers the path.
UNCLAIMED = ("x-ekiben-unclaimed", "1")


class MountedMethod:
    """What a call of the endpoint has in the place of an API."""

    name = ENDPOINT
    route = "/"
    ctx_param = None


def describe_mounts(service: AnyService) -> list[dict[str, Any]]:
    """Return the endpoint of the mounted applications, if there are any; middlewares answer there, too."""
    if not service.mount_apps and not service.middlewares:
        return []
    return [{"name": ENDPOINT, "route": "/", "mounts": [mount.path or "/" for mount in service.mount_apps]}]


async def start_mounts(service: AnyService) -> contextlib.AsyncExitStack:
    """Begin the lives of applications that have one; they end with the stack."""
    async with contextlib.AsyncExitStack() as stack:
        for mount in service.mount_apps:
            if is_starlette(mount.app):
                await stack.enter_async_context(mount.app.router.lifespan_context(mount.app))
        return stack.pop_all()


async def answer_mounted(mounts: list[Mount], channel: Channel, call: Call) -> None:
    """Let the first application that claims the path answer; none of them is told to the front."""
    scope = request_scope(call.request)
    sender = Sender(channel, call, lambda answer: answer)
    mount = next((mount for mount in mounts if mount.claims(scope)), None)
    if mount is None:
        await _answer_unclaimed(mounts, scope, sender)
        return
    try:
        await mount.app(mount.scope(scope), Receiver(call.request), sender)
    except Exception:
        # Applications answer an exception themselves, and raise it on for the log.
        if not sender.is_over:
            raise
        logger.exception("Exception on %s [%s]", call.request.path, call.request.method)
    sender.finish()


def socket_application(service: AnyService) -> Any:
    """Return the application that takes WebSockets: the first one mounted that claims the path."""

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        mount = next((mount for mount in service.mount_apps if mount.claims(scope)), None)
        if mount is None:
            await send({"type": "websocket.close"})
        else:
            await mount.app(mount.scope(scope), receive, send)

    return application


async def _answer_unclaimed(mounts: list[Mount], scope: dict[str, Any], sender: Sender) -> None:
    path = scope["path"]
    other = path.rstrip("/") if path.endswith("/") else f"{path}/"
    if other and any(mount.claims({**scope, "path": other}) for mount in mounts):
        raw = scope["raw_path"].decode("latin-1")
        location = raw.rstrip("/") if raw.endswith("/") else f"{raw}/"
        query = scope["query_string"].decode("latin-1")
        sender.reply(Answer(307, [("location", f"{location}?{query}" if query else location)]))
    else:
        sender.reply(Answer(404, [UNCLAIMED]))
