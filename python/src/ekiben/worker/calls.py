"""``Calls``: answers API calls, each exactly once; synchronous APIs on threads, asynchronous ones on the loop."""

from __future__ import annotations

import asyncio
import inspect
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from ..apis.method import APIMethod
from ..context import Context, Request, Response
from ..exceptions import BadInput, BentoMLException
from ..io.images import has_broken_image
from ..io.inputs import InvalidInput
from .answers import (
    Answer,
    cancelled_answer,
    checked_status,
    error_answer,
    invalid_input_answer,
    is_http_response,
    json_answer,
    merge_headers,
    response_headers,
)
from .asgi import run_application
from .streams import send_async_stream, send_stream
from .threads import CallThreads

if TYPE_CHECKING:
    from ..services.service import Service
    from .channel import Channel
    from .frames import Frame

logger = logging.getLogger("bentoml.serve")

PICKLE = "application/vnd.bentoml+pickle"


class Call:
    """One call: its request, the method it goes to, and what has become of it."""

    __slots__ = ("cancelled", "files", "id", "method", "request", "response", "started", "task")

    def __init__(self, frame: Frame, method: APIMethod):
        header = frame.header
        self.id: int = header["id"]
        self.method = method
        self.request = Request(
            method=header.get("method", "POST"),
            path=header.get("path", method.route),
            query=header.get("query", ""),
            headers=header.get("headers", []),
            body=frame.body,  # type: ignore[arg-type] (the reader gives bytes or a bytearray)
            request_id=header.get("request_id", ""),
        )
        self.response = Response()
        self.cancelled = False
        self.started = False
        # The arguments of an API that takes files.
        self.files: list[Any] = []
        self.task: asyncio.Task[None] | None = None


class Calls:
    """The calls in flight on this worker."""

    def __init__(self, service: Service, instance: Any, channel: Channel, loop: asyncio.AbstractEventLoop):
        self._service = service
        self._instance = instance
        self._channel = channel
        self._loop = loop
        self._threads = CallThreads(service.threads)
        self._in_flight: dict[int, Call] = {}
        self._background: set[asyncio.Task[None]] = set()
        # Set while somebody waits for the last call to end; waking the loop after every call would cost too much.
        self._idle: asyncio.Event | None = None
        # Read every type now: the first call must not pay for it.
        for method in service.apis.values():
            _ = method.input_spec, method.output_spec, method.ctx_param

    def begin(self, frame: Frame) -> None:
        """Start a call."""
        method = self._service.apis.get(frame.header.get("endpoint", ""))
        if method is None:
            self._send(frame.header["id"], json_answer(404, {"error": "no such API"}))
            return
        call = Call(frame, method)
        self._in_flight[call.id] = call
        if method.is_async:
            call.task = self._loop.create_task(self._run_async(call))
        else:
            self._threads.submit(self._run_sync, call)

    def cancel(self, call_id: int) -> None:
        """Give a call up: drop it if it has not begun, stop an asynchronous one at its next await."""
        call = self._in_flight.get(call_id)
        if call is None:
            return
        call.cancelled = True
        if call.task is not None:
            call.task.cancel()

    def cancel_all(self) -> None:
        """Give all calls up."""
        for call_id in list(self._in_flight):
            self.cancel(call_id)

    def is_idle(self) -> bool:
        """Say whether nobody waits for an answer."""
        return not self._in_flight

    async def finished(self) -> None:
        """Wait until no call and no background task is left."""
        self._idle = asyncio.Event()
        self._check_idle()
        await self._idle.wait()
        while self._background:
            await asyncio.wait(set(self._background))

    def _run_sync(self, call: Call) -> None:
        """Serve a call on a thread."""
        try:
            if call.cancelled:
                self._send(call.id, cancelled_answer())
                return
            Context.enter(call.request, call.response)
            args, kwargs = self._arguments(call)
            value = call.method.func(self._instance, *args, **kwargs)
            if is_http_response(value) and not is_plain(value):
                asyncio.run_coroutine_threadsafe(self._send_response(call, value), self._loop).result()
            else:
                self._answer(call, value)
        except BaseException as error:
            self._failed(call, error)
        finally:
            self._done(call)

    async def _run_async(self, call: Call) -> None:
        """Serve a call on the loop."""
        try:
            Context.enter(call.request, call.response)
            if call.method.input_spec.takes_files:
                # Files are written, URLs fetched: not on the loop.
                args, kwargs = await asyncio.to_thread(self._arguments, call)
            else:
                args, kwargs = self._arguments(call)
            value = call.method.func(self._instance, *args, **kwargs)
            if inspect.isawaitable(value):
                value = await value
            if inspect.isasyncgen(value):
                await send_async_stream(self._channel, call, value)
            elif inspect.isgenerator(value):
                await self._loop.run_in_executor(None, send_stream, self._channel, call, value)
            elif is_http_response(value) and not is_plain(value):
                await self._send_response(call, value)
            else:
                self._answer(call, value)
        except BaseException as error:
            self._failed(call, error)
        finally:
            self._done(call)

    def _arguments(self, call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
        request, method = call.request, call.method
        declared = request.content_type
        content_type = declared.partition(";")[0].strip().lower()
        if content_type == PICKLE:
            raise BentoMLException(f"{PICKLE} is not allowed in main server", error_code=415)  # type: ignore[arg-type]
        args, kwargs = method.input_spec.decode(request.raw_body, content_type, declared)
        if method.input_spec.takes_files:
            call.files = [*args, *kwargs.values()]
        if method.ctx_param is not None:
            kwargs[method.ctx_param] = self._service.context
        return args, kwargs

    def _answer(self, call: Call, value: Any) -> None:
        """Send the returned value."""
        if inspect.isgenerator(value):
            send_stream(self._channel, call, value)
            return
        if is_http_response(value):
            answer = Answer(checked_status(value.status_code), response_headers(value), value.body)
            take_background(call, value)
        else:
            answer = Answer(*call.method.output_spec.render(value))
        self._send(call.id, apply_context(call, answer))

    async def _send_response(self, call: Call, response: Any) -> None:
        """Send a response object that makes its body while it is sent: a stream, a file."""
        if hasattr(response, "body_iterator"):
            await send_async_stream(self._channel, call, response.body_iterator, response)
            take_background(call, response)
        else:
            await run_application(response, self._channel, call, partial(apply_context, call))

    def _failed(self, call: Call, error: BaseException) -> None:
        """Answer a call that raised; the traceback goes to the log."""
        if isinstance(error, asyncio.CancelledError):
            self._send_error(call, cancelled_answer(), "the call was cancelled")
            return
        cause = error.__cause__ if isinstance(error, InvalidInput) else error
        if isinstance(error, (OSError, SyntaxError, ValueError)) and has_broken_image(call.files):
            # Images are decoded at work, not before: what fails there may be what the client sent.
            error = BadInput("Cannot decode the image")
        answer = invalid_input_answer(error) if isinstance(error, InvalidInput) else error_answer(error)
        logger.error("Exception on %s [%s]", call.request.path, call.request.method, exc_info=cause)
        self._send_error(call, answer, f"{type(error).__name__}: {error}")

    def _send_error(self, call: Call, answer: Answer, message: str) -> None:
        if call.started:
            self._channel.send({"type": "end", "id": call.id, "error": message})
        else:
            self._send(call.id, answer)

    def _send(self, call_id: int, answer: Answer) -> None:
        header = {"type": "reply", "id": call_id, "status": answer.status, "headers": answer.headers}
        self._channel.send(header, answer.body)

    def _done(self, call: Call) -> None:
        """Forget an answered call; what it left for the background runs now."""
        if call.response.has_background:
            self._loop.call_soon_threadsafe(self._start_background, call)
        else:
            call.request.close()
            self._forget(call)

    def _forget(self, call: Call) -> None:
        self._in_flight.pop(call.id, None)
        if self._idle is not None:
            self._loop.call_soon_threadsafe(self._check_idle)

    def _check_idle(self) -> None:
        if self._idle is not None and not self._in_flight:
            self._idle.set()

    def _start_background(self, call: Call) -> None:
        task = self._loop.create_task(self._run_background(call))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        self._forget(call)

    async def _run_background(self, call: Call) -> None:
        try:
            await call.response.background.run()
        except Exception:
            logger.exception("Background task of %s failed", call.request.path)
        finally:
            call.request.close()


def is_plain(response: Any) -> bool:
    """Tell whether a response object has its body already."""
    return hasattr(response, "body") and not hasattr(response, "body_iterator")


def take_background(call: Call, response: Any) -> None:
    """Run the background task of a response object, after those of the context."""
    task = getattr(response, "background", None)
    if task is not None:
        call.response.background.add_task(task)


def apply_context(call: Call, answer: Answer) -> Answer:
    """Put what the API set on its context into the answer; only an API that takes the context can have set it."""
    if call.method.ctx_param is None:
        return answer
    headers = merge_headers(answer.headers, call.response.all_headers())
    return Answer(checked_status(call.response.status_code), headers, answer.body)
