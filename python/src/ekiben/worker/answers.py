"""Answers to calls: status, headers and body, for results and for errors (runtime contract, error bodies)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from ..exceptions import BentoMLException

if TYPE_CHECKING:
    from ..io.inputs import InvalidInput

Headers = list[tuple[str, str]]
Body = Union[bytes, bytearray, memoryview]

HIDDEN = "An unexpected error has occurred, please check the server log."
# The call was given up before it began or ended; the front has nobody to pass the answer to.
CANCELLED_STATUS = 499
# A header of the transport, not of the application: the front makes it from the body.
TRANSPORT_HEADERS = frozenset({"content-length", "transfer-encoding", "connection"})


class Answer(NamedTuple):
    """A whole response."""

    status: int
    headers: Headers
    body: Body = b""


def json_answer(status: int, document: Any) -> Answer:
    """Return a compact JSON document as an answer."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Answer(status, [("content-type", "application/json")], text.encode("utf-8", "replace"))


def invalid_input_answer(error: InvalidInput) -> Answer:
    """Return the answer to a body that does not fit the API's input."""
    return json_answer(400, {"error": f"{error.count} validation error for {error.title}", "detail": error.details})


def error_answer(error: BaseException) -> Answer:
    """Return the answer to an exception of an API. What is the server's own fault is not told to clients."""
    if not isinstance(error, BentoMLException):
        return json_answer(500, {"error": HIDDEN})
    status = checked_status(error.error_code)
    if status in (401, 403):
        return json_answer(status, {"error": "Authorization error"})
    if status >= 500:
        return json_answer(status, {"error": HIDDEN})
    # Upstream answers with an array of one object; clients match on it.
    return json_answer(status, [{"error": str(error)}])


def value_error_answer(error: BaseException) -> Answer:
    """Return the answer to another worker: it is told what happened, and decides what its own client is told."""
    status = checked_status(error.error_code) if isinstance(error, BentoMLException) else 500
    text = str(error) if isinstance(error, BentoMLException) else f"{type(error).__name__}: {error}"
    return json_answer(status, {"error": text})


def checked_status(status: Any) -> int:
    """Return a status that can be sent; what user code sets may be anything."""
    number = int(status) if isinstance(status, int) else 500
    return number if 200 <= number <= 599 else 500


def cancelled_answer() -> Answer:
    """Return the answer to a call that was cancelled."""
    return Answer(CANCELLED_STATUS, [])


def is_http_response(value: Any) -> bool:
    """Recognise a response object of starlette and its relatives, which need not be installed."""
    return hasattr(value, "status_code") and hasattr(value, "raw_headers")


def response_headers(response: Any) -> Headers:
    """Return the headers of such an object."""
    return [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in response.raw_headers
        if name.decode("latin-1").lower() not in TRANSPORT_HEADERS
    ]


def merge_headers(headers: Headers, changes: Headers) -> Headers:
    """Return ``headers`` with ``changes`` put in: a name replaces the same name, cookies add up."""
    changed = {name.lower() for name, _ in changes if name.lower() != "set-cookie"}
    kept = [(name, value) for name, value in headers if name.lower() not in changed]
    return kept + [(name, value) for name, value in changes if name.lower() not in TRANSPORT_HEADERS]
