"""``Calls``: answers API calls, each exactly once; synchronous APIs on threads, asynchronous ones on the loop.

A call comes from a client, with the body of an HTTP request, or from another worker, with Python values; several calls
of one API can come as a batch (``batches``).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from ..apis.method import APIMethod
from ..context import Context, Request, Response, State
from ..exceptions import BadInput, BentoMLException
from ..io.images import has_broken_image
from ..io.inputs import InvalidInput
from ..io.outputs import ValueOutput
from . import batches, mounts
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
    value_error_answer,
)
from .asgi import run_application
from .batches import Share
from .description import slots_of
from .streams import send_async_stream, send_stream
from .threads import CallThreads
from .values import array_bytes, array_encoding, decode_array, decode_value, encode_value, is_plain_array

if TYPE_CHECKING:
    from ..services.service import Service
    from .application import Application
    from .channel import Channel
    from .frames import Frame

logger = logging.getLogger("bentoml.serve")

PICKLE = "application/vnd.bentoml+pickle"
# What an API returns most of the time: neither a stream, nor a response, nor to be awaited.
PLAIN = frozenset({dict, list, tuple, str, bytes, int, float, bool, type(None)})


class Call:
    """One call: its request, the method it goes to, and what has become of it."""

    __slots__ = ("begun", "cancelled", "encoding", "files", "id", "method", "request", "response", "started", "task")

    def __init__(self, frame: Frame, method: APIMethod):
        header = frame.header
        get = header.get
        self.id: int = header["id"]
        self.method = method
        # How the arguments are written, and the value is to be; none for a call of a client.
        self.encoding: dict[str, Any] | None = get("encoding")
        self.request = Request(
            get("method", "POST"),
            get("path", method.route),
            get("query", ""),
            get("headers"),
            frame.body,  # type: ignore[arg-type] (the reader gives bytes or a bytearray)
            get("request_id", ""),
        )
        self.response = Response()
        if "state" in header:
            self.request.state = State(header["state"])
        self.begun = self.cancelled = False
        self.started = False
        # The arguments of an API that takes files.
        self.files: list[Any] = []
        self.task: asyncio.Task[None] | None = None


class Batch:
    """Several calls of one API that are computed together."""

    __slots__ = ("array", "begun", "body", "cancelled", "headers", "id", "method", "request", "response", "task")

    def __init__(self, frame: Frame, method: APIMethod):
        self.id: int = frame.header["id"]
        self.method = method
        self.headers: list[dict[str, Any]] = frame.header["calls"]
        # The one array that the body is; none when every call has a part of its own.
        self.array: dict[str, Any] | None = frame.header.get("array")
        self.body = frame.body
        # What the calls have in common: a directory for their files.
        self.request = Request(path=method.route, request_id=self.headers[0].get("request_id", ""))
        self.response = Response()
        self.begun = self.cancelled = False
        self.task: asyncio.Task[None] | None = None

    @property
    def has_clients(self) -> bool:
        """Whether any of the calls is an HTTP request."""
        return any("content_type" in header for header in self.headers)

    def parts(self) -> list[Any]:
        """Return the body of each call."""
        memory = memoryview(self.body)
        parts, start = [], 0
        for header in self.headers:
            parts.append(memory[start : start + header["length"]])
            start += header["length"]
        return parts


class Calls:
    """The calls in flight on this worker."""

    def __init__(
        self,
        service: Service,
        instance: Any,
        channel: Channel,
        loop: asyncio.AbstractEventLoop,
        threads: CallThreads | None = None,
    ):
        self._service = service
        self._instance = instance
        self._channel = channel
        self._loop = loop
        if threads is None:
            # Only where all calls run on one thread: what else comes belongs to the loop.
            threads = CallThreads(service.threads, channel.reading if slots_of(service) == 1 else None)
        self._threads = threads
        # What clients' requests go through where there are middlewares.
        self.application: Application | None = None
        self._in_flight: dict[int, Call | Batch] = {}
        self._background: set[asyncio.Task[None]] = set()
        # Set while somebody waits for the last call to end; waking the loop after every call would cost too much.
        self._idle: asyncio.Event | None = None
        # Read every type now: the first call must not pay for it.
        for method in service.apis.values():
            _ = method.input_spec, method.output_spec, method.ctx_param

    def within(self, channel: Any) -> Calls:
        """Return the calls that middlewares stand around: on the same threads, with another way for the answers."""
        return type(self)(self._service, self._instance, channel, self._loop, self._threads)

    def begin(self, frame: Frame) -> None:
        """Start a call."""
        endpoint = frame.header.get("endpoint", "")
        if endpoint == mounts.ENDPOINT:
            call = Call(frame, mounts.MountedMethod())  # type: ignore[arg-type]
            call.request.come_from(frame.header)
            self._begin_mounted(call)
            return
        method = self._service.apis.get(endpoint)
        if method is None:
            self._send(frame.header["id"], json_answer(404, {"error": "no such API"}))
            return
        call = Call(frame, method)
        self._in_flight[call.id] = call
        if method.is_async:
            call.task = self._loop.create_task(self._run_async(call))
        else:
            self._threads.submit(self._run_sync, call)

    def _begin_mounted(self, call: Call) -> None:
        self._in_flight[call.id] = call
        call.task = self._loop.create_task(self._run_mounted(call))

    async def _run_mounted(self, call: Call) -> None:
        """Let a mounted application answer."""
        try:
            begin(call)
            if self.application is not None:
                await self.application.answer(call)
            else:
                Context.enter(call.request, call.response)
                await mounts.answer_mounted(self._service.mount_apps, self._channel, call)
        except BaseException as error:
            self._failed(call, error)
        finally:
            self._done(call)

    def begin_batch(self, frame: Frame) -> None:
        """Start several calls of one API."""
        method = self._service.apis.get(frame.header.get("endpoint", ""))
        if method is None:
            answer = json_answer(404, {"error": "no such API"})
            self._send_results(frame.header["id"], [(answer, None, [answer.body])] * len(frame.header["calls"]))
            return
        batch = Batch(frame, method)
        self._in_flight[batch.id] = batch
        if method.is_async:
            batch.task = self._loop.create_task(self._run_batch_async(batch))
        else:
            self._threads.submit(self._run_batch, batch)

    def cancel(self, call_id: int) -> None:
        """Give a call up: drop it if it has not begun, stop an asynchronous one at its next await."""
        call = self._in_flight.get(call_id)
        if call is None:
            return
        call.cancelled = True
        # A task that has not begun would end without its answer; it sees by itself that it was cancelled.
        if call.task is not None and call.begun:
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
        if self.application is not None:
            await self.application.finished()
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
            value = self._invoke(call, args, kwargs)
            if type(value) in PLAIN:
                self._answer_value(call, value)
            elif is_http_response(value) and not is_plain(value):
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
            begin(call)
            Context.enter(call.request, call.response)
            if self._reading_blocks(call.method):
                args, kwargs = await asyncio.to_thread(self._arguments, call)
            else:
                args, kwargs = self._arguments(call)
            value = self._invoke(call, args, kwargs)
            if inspect.isawaitable(value):
                value = await value
            if type(value) in PLAIN:
                self._answer_value(call, value)
            elif inspect.isasyncgen(value):
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

    def _run_batch(self, batch: Batch) -> None:
        """Serve a batch on a thread."""
        try:
            Context.enter(batch.request, batch.response)
            function, dims = partial(batch.method.func, self._instance), batch.method.batch_dim
            if batch.array is not None:
                self._answer_array(batch, function, dims)
            else:
                shares = self._shares(batch)
                batches.compute(function, shares, dims, batch.method.max_batch_size)
                self._answer_each(batch, shares)
        except BaseException as error:
            self._batch_failed(batch, error)
        finally:
            batch.request.close()
            self._forget(batch)

    async def _run_batch_async(self, batch: Batch) -> None:
        """Serve a batch on the loop."""
        try:
            begin(batch)
            Context.enter(batch.request, batch.response)
            if batch.array is not None:
                shares = self._row_shares(batch)
            elif self._reading_blocks(batch.method):
                shares = await asyncio.to_thread(self._shares, batch)
            else:
                shares = self._shares(batch)
            function, dims = partial(batch.method.func, self._instance), batch.method.batch_dim
            await batches.compute_async(function, shares, dims, batch.method.max_batch_size)
            self._answer_each(batch, shares)
        except BaseException as error:
            self._batch_failed(batch, error)
        finally:
            batch.request.close()
            self._forget(batch)

    def _shares(self, batch: Batch) -> list[Share]:
        """Return the calls of a batch with their arguments, or with what is wrong with them."""
        return [self._share(batch, header, part) for header, part in zip(batch.headers, batch.parts())]

    def _share(self, batch: Batch, header: dict[str, Any], part: memoryview) -> Share:
        try:
            if "content_type" not in header:
                encoding = header["encoding"]
                return Share(unpacked(encoding, decode_value(encoding, part)))
            return Share(self._decoded(batch.method, bytes(part), header["content_type"]))
        except Exception as error:
            return Share(error=error)

    def _row_shares(self, batch: Batch) -> list[Share]:
        """Return the calls of a batch that is one array, each with its own rows."""
        array, start, found = decode_array(batch.array, batch.body), 0, []  # type: ignore[arg-type] (there is one)
        for header in batch.headers:
            found.append(Share(self._array_arguments(batch.method, array[start : start + header["rows"]])))
            start += header["rows"]
        return found

    def _array_arguments(self, method: APIMethod, array: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        name = getattr(method.input_spec, "only_parameter", None)
        return ((array,), {}) if name is None else ((), {name: array})

    def _answer_array(self, batch: Batch, function: Callable[..., Any], dims: tuple[int, int]) -> None:
        """Compute an array as it came and answer with one; call by call where the function fails with it."""
        method, calls = batch.method, len(batch.headers)
        # What a function that fails has written into its rows must not be there when the calls are computed again.
        body = batch.body if calls == 1 else bytes(batch.body)
        array = decode_array(batch.array, body)  # type: ignore[arg-type] (there is one)
        args, kwargs = self._array_arguments(method, array)
        try:
            value = batches.compute_in_parts(function, args, kwargs, dims, method.max_batch_size)
            if dims[1] == 0 and value_is_rows(value, len(array)) and self._front_writes(batch, value):
                head = {"type": "results", "id": batch.id, "array": array_encoding(value)}
                self._channel.send_parts(head, [array_bytes(value)])
                return
            results = batches.split_result(value, [header["rows"] for header in batch.headers], dims[1])
            shares = [Share(value=result) for result in results]
        except Exception as error:
            if calls == 1:
                shares = [Share(error=error)]
            else:
                shares = self._row_shares(batch)
                for share in shares:
                    batches.compute(function, [share], dims, method.max_batch_size)
        self._answer_each(batch, shares)

    def _front_writes(self, batch: Batch, array: Any) -> bool:
        """Tell whether the front writes the answers to clients, if there are any, as the API's output would."""
        output = batch.method.output_spec
        return not batch.has_clients or (isinstance(output, ValueOutput) and output.is_array_as_json(array))

    def _answer_each(self, batch: Batch, shares: list[Share]) -> None:
        answers = []
        for header, share in zip(batch.headers, shares):
            answers.append(self._result(batch, share, "content_type" in header))
        self._send_results(batch.id, answers)

    def _result(self, batch: Batch, share: Share, is_client: bool) -> tuple[Answer, dict[str, Any] | None, list[Any]]:
        """Return a call's answer: status and headers, how the value is written, and the parts of the body."""
        error = share.error
        if error is None:
            try:
                if not is_client:
                    encoding, parts = encode_value(share.value)
                    return Answer(200, []), encoding, parts
                answer = Answer(*batch.method.output_spec.render(share.value))
                return answer, None, [answer.body]
            except Exception as failure:
                error = failure
        answer = self._told(error, is_client)
        cause = error.__cause__ if isinstance(error, InvalidInput) else error
        logger.error("Exception on %s [POST]", batch.method.route, exc_info=cause)
        return answer, None, [answer.body]

    def _batch_failed(self, batch: Batch, error: BaseException) -> None:
        logger.error("Exception on %s [POST]", batch.method.route, exc_info=error)
        answer = cancelled_answer() if isinstance(error, asyncio.CancelledError) else error_answer(error)
        self._send_results(batch.id, [(answer, None, [answer.body])] * len(batch.headers))

    def _send_results(self, batch_id: int, answers: list[tuple[Answer, dict[str, Any] | None, list[Any]]]) -> None:
        told: list[dict[str, Any]] = []
        body: list[Any] = []
        for answer, encoding, parts in answers:
            one: dict[str, Any] = {"status": answer.status, "headers": answer.headers}
            one["length"] = sum(len(part) for part in parts)
            if encoding is not None:
                one["encoding"] = encoding
            told.append(one)
            body.extend(parts)
        self._channel.send_parts({"type": "results", "id": batch_id, "answers": told}, body)

    def _told(self, error: BaseException, is_client: bool) -> Answer:
        """Return the answer to an exception: to a client, or to another worker."""
        if is_client or isinstance(error, InvalidInput):
            return self._error_answer(error)
        return value_error_answer(error)

    def _reading_blocks(self, method: APIMethod) -> bool:
        """Tell whether reading arguments does not belong on the loop: files are written, URLs fetched."""
        return method.input_spec is not None and method.input_spec.takes_files

    def _arguments(self, call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
        request, method = call.request, call.method
        if call.encoding is not None:
            args, kwargs = unpacked(call.encoding, decode_value(call.encoding, request.raw_body))
            if method.ctx_param is not None:
                kwargs = {**kwargs, method.ctx_param: self._service.context}
            return args, kwargs
        args, kwargs = self._decoded(method, request.raw_body, request.content_type)
        if method.input_spec.takes_files:
            call.files = [*args, *kwargs.values()]
        if method.ctx_param is not None:
            kwargs[method.ctx_param] = self._service.context
        return args, kwargs

    def _decoded(
        self, method: APIMethod, body: bytes | bytearray, declared: str
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments that the body of a client's request gives."""
        content_type = declared.partition(";")[0].strip().lower()
        if content_type == PICKLE:
            raise BentoMLException(f"{PICKLE} is not allowed in main server", error_code=415)  # type: ignore[arg-type]
        return method.input_spec.decode(body, content_type, declared)

    def _invoke(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the method of the instance; one whose calls are merged as with a batch of one."""
        method = call.method
        if not method.batchable or method.is_stream or method.ctx_param is not None:
            return method.func(self._instance, *args, **kwargs)
        function = partial(method.func, self._instance)
        alone = Share((args, kwargs))
        if method.is_async:
            return self._alone(call, function, alone)
        batches.compute(function, [alone], method.batch_dim, method.max_batch_size)
        return alone.taken()

    async def _alone(self, call: Call, function: Callable[..., Any], alone: Share) -> Any:
        await batches.compute_async(function, [alone], call.method.batch_dim, call.method.max_batch_size)
        return alone.taken()

    def _answer(self, call: Call, value: Any) -> None:
        """Send what was returned."""
        if inspect.isgenerator(value):
            send_stream(self._channel, call, value)
        elif is_http_response(value) and call.encoding is None:
            answer = Answer(checked_status(value.status_code), response_headers(value), value.body)
            take_background(call, value)
            self._send(call.id, apply_context(call, answer))
        else:
            self._answer_value(call, value)

    def _answer_value(self, call: Call, value: Any) -> None:
        """Send a returned value."""
        if call.encoding is not None:
            encoding, parts = encode_value(value)
            header = {"type": "reply", "id": call.id, "status": 200, "headers": [], "encoding": encoding}
            self._channel.send_value(header, parts)
            return
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
        try:
            self._tell_failure(call, error)
        except Exception as second:  # an error that cannot be written, say
            logger.exception("Exception on %s cannot be told", call.request.path)
            self._send_error(call, error_answer(second), type(error).__name__)

    def _tell_failure(self, call: Call, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            self._send_error(call, cancelled_answer(), "the call was cancelled")
            return
        cause = error.__cause__ if isinstance(error, InvalidInput) else error
        if isinstance(error, (OSError, SyntaxError, ValueError)) and has_broken_image(call.files):
            # Images are decoded at work, not before: what fails there may be what the client sent.
            error = BadInput("Cannot decode the image")
        answer = self._told(error, call.encoding is None)
        logger.error("Exception on %s [%s]", call.request.path, call.request.method, exc_info=cause)
        self._send_error(call, answer, f"{type(error).__name__}: {error}")

    def _error_answer(self, error: BaseException) -> Answer:
        """Return the answer to an exception."""
        return invalid_input_answer(error) if isinstance(error, InvalidInput) else error_answer(error)

    def _send_error(self, call: Call, answer: Answer, message: str) -> None:
        if call.started:
            self._channel.send({"type": "end", "id": call.id, "error": message})
        else:
            self._send(call.id, answer)

    def _send(self, call_id: int, answer: Answer) -> None:
        self._channel.reply(call_id, answer.status, answer.headers, answer.body)

    def _done(self, call: Call) -> None:
        """Forget an answered call; what it left for the background runs now."""
        if call.response.has_background:
            self._loop.call_soon_threadsafe(self._start_background, call)
        else:
            call.request.close()
            self._forget(call)

    def _forget(self, call: Call | Batch) -> None:
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


def begin(call: Call | Batch) -> None:
    """Take note that a call's task runs; raise ``CancelledError`` when nobody waits for it any more."""
    call.begun = True
    if call.cancelled:
        raise asyncio.CancelledError


def unpacked(encoding: dict[str, Any], value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments that came from another worker: an array is the only one, anything else is all of them."""
    return ((value,), {}) if encoding["kind"] == "array" else value


def value_is_rows(value: Any, rows: int) -> bool:
    """Tell whether a value is an array of numbers with so many rows."""
    return is_plain_array(value) and value.shape[0] == rows


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
