"""``Context``: the request being served and the response being made, and ``server_context``: where this process stands.

The request and response live in context variables, so that calls running at once on one loop do not see each other.
"""

from __future__ import annotations

import contextvars
import inspect
import os
import shutil
import tempfile
import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Callable

from .http_values import Headers, MutableHeaders, cookie_header, parse_cookies, parse_query

if TYPE_CHECKING:
    from .http_values import QueryParams

_request: contextvars.ContextVar[Request] = contextvars.ContextVar("request")
_response: contextvars.ContextVar[Response] = contextvars.ContextVar("response")
# A request may be given up while a thread still writes its files.
_directories = threading.Lock()


class State:
    """A bag of attributes for the length of a request; what middlewares put into the scope's ``state`` is in it."""

    def __init__(self, values: dict[str, Any] | None = None):
        object.__setattr__(self, "_state", {} if values is None else values)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._state[name]
        except KeyError:
            raise AttributeError(f"'State' object has no attribute '{name}'") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._state[name] = value

    def __delattr__(self, name: str) -> None:
        del self._state[name]


class Request:
    """The HTTP request of a call."""

    # Known of requests for mounted applications.
    client: tuple[str, int] | None = None
    scheme = "http"

    def __init__(
        self,
        method: str = "POST",
        path: str = "/",
        query: str = "",
        headers: list[tuple[str, str]] | None = None,
        body: bytes | bytearray = b"",
        request_id: str = "",
    ):
        self.method = method
        self.path = path
        self.query_string = query
        self.raw_headers = headers or []
        self.request_id = request_id
        self.raw_body = body
        self._temp_dir: str | None = None
        self._is_closed = False

    def come_from(self, header: dict[str, Any]) -> None:
        """Take note of who asks, as the front says."""
        client = header.get("client")
        self.client = tuple(client) if client else None
        self.scheme = header.get("scheme", self.scheme)

    @cached_property
    def headers(self) -> Headers:
        """The request's headers."""
        return Headers(self.raw_headers)

    @cached_property
    def state(self) -> State:
        """A bag for the length of the request."""
        return State()

    @property
    def content_type(self) -> str:
        """The ``content-type`` header; JSON where there is none."""
        for name, value in self.raw_headers:
            if name == "content-type":
                return value
        return "application/json"

    @property
    def metadata(self) -> Headers:
        """The request's headers."""
        return self.headers

    @property
    def query_params(self) -> QueryParams:
        """The parameters of the query string."""
        return parse_query(self.query_string)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that the client sent."""
        return parse_cookies(self.headers.get("cookie", ""))

    async def body(self) -> bytes:
        """Return the body as it was received."""
        return bytes(self.raw_body)

    async def json(self) -> Any:
        """Return the body parsed as JSON."""
        import json

        return json.loads(self.raw_body)

    def temp_dir(self) -> str:
        """Return the request's own directory, made on first use."""
        with _directories:
            if self._is_closed:
                raise RuntimeError("the request is over, and its directory removed")
            if self._temp_dir is None:
                self._temp_dir = tempfile.mkdtemp(prefix="bentoml-request-")
            return self._temp_dir

    def close(self) -> None:
        """Remove the request's own directory."""
        with _directories:
            self._is_closed = True
            directory, self._temp_dir = self._temp_dir, None
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)


@dataclass(frozen=True)
class Cookie:
    """A cookie to set in the response."""

    key: str
    value: str
    max_age: int | None = None
    expires: int | None = None
    path: str = "/"
    domain: str | None = None
    secure: bool = False
    httponly: bool = False
    samesite: str | None = "lax"

    def header(self) -> str:
        """Return the value of the ``set-cookie`` header."""
        return cookie_header(self)


class BackgroundTasks:
    """Functions to run after the response was sent, in order."""

    def __init__(self) -> None:
        self.tasks: list[Callable[[], Any]] = []

    def add_task(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Run ``func(*args, **kwargs)`` after the response; it may be a coroutine function."""
        self.tasks.append(lambda: func(*args, **kwargs))

    async def run(self) -> None:
        """Run the tasks; synchronous ones in a thread, so that they do not hold up the loop."""
        import asyncio

        for task in self.tasks:
            result = await asyncio.get_running_loop().run_in_executor(None, task)
            if inspect.isawaitable(result):
                await result


class Response:
    """What a call adds to its response, next to the returned value."""

    def __init__(self) -> None:
        self.status_code = 200
        self.cookies: list[Cookie] = []

    @cached_property
    def headers(self) -> MutableHeaders:
        """The response's headers."""
        return MutableHeaders()

    @cached_property
    def background(self) -> BackgroundTasks:
        """What runs after the response was sent."""
        return BackgroundTasks()

    @property
    def has_background(self) -> bool:
        """Whether anything is to run after the response; does not make the list of tasks."""
        return "background" in self.__dict__ and bool(self.background.tasks)

    @property
    def metadata(self) -> MutableHeaders:
        """The response's headers."""
        return self.headers

    @metadata.setter
    def metadata(self, headers: MutableHeaders) -> None:
        self.headers = headers

    def set_cookie(
        self,
        key: str,
        value: str,
        max_age: int | None = None,
        expires: int | None = None,
        path: str = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: str | None = "lax",
    ) -> None:
        """Add a cookie to the response."""
        self.cookies.append(Cookie(key, value, max_age, expires, path, domain, secure, httponly, samesite))

    def all_headers(self) -> list[tuple[str, str]]:
        """Return the headers and cookies that were set."""
        return [*self.headers.multi_items(), *(("set-cookie", cookie.header()) for cookie in self.cookies)]


def request_temp_dir() -> str | None:
    """Return the directory of the request being served; None outside of requests."""
    request = _request.get(None)
    return None if request is None else request.temp_dir()


class Context:
    """The parameter ``ctx`` or ``context`` of an API method; one per service, valid in every call."""

    ResponseContext = Response

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    @property
    def request(self) -> Request:
        """The request being served."""
        return _request.get()

    @property
    def response(self) -> Response:
        """The response being made."""
        return _response.get()

    @property
    def temp_dir(self) -> str:
        """A directory for this request alone, removed after it."""
        return _request.get().temp_dir()

    @staticmethod
    def enter(request: Request, response: Response) -> None:
        """Make ``request`` and ``response`` the current ones of the running task or thread."""
        _request.set(request)
        _response.set(response)


@dataclass
class ServerContext:
    """What a process may know about itself: which service it serves, as which worker."""

    bento_name: str = ""
    bento_version: str = "not available"
    service_type: str | None = None
    service_name: str | None = None
    worker_index: int | None = None
    service_routes: list[str] = field(default_factory=list)

    @property
    def yatai_bento_deployment_name(self) -> str:
        """The name of the cloud deployment, or an empty string."""
        return os.environ.get("YATAI_BENTO_DEPLOYMENT_NAME", "")

    @property
    def yatai_bento_deployment_namespace(self) -> str:
        """The namespace of the cloud deployment, or an empty string."""
        return os.environ.get("YATAI_BENTO_DEPLOYMENT_NAMESPACE", "")


server_context = ServerContext()


def current_request() -> Request | None:
    """Return the request that is being answered; None outside of one."""
    return _request.get(None)


def current_request_id() -> str:
    """Return the identity of the request that is being answered, empty outside of one."""
    request = _request.get(None)
    return "" if request is None else request.request_id
