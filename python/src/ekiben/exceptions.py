"""Exceptions of the public API, each with the HTTP status that a call raising it answers with."""

from __future__ import annotations

from http import HTTPStatus


class BentoMLException(Exception):
    """Base of all errors of the SDK; ``error_code`` is the HTTP status, per class or per instance."""

    error_code = HTTPStatus.INTERNAL_SERVER_ERROR
    # status -> the class a client raises for it; the first class of a status keeps its place.
    error_mapping: dict[HTTPStatus, type[BentoMLException]] = {}  # noqa: RUF012

    def __init_subclass__(cls) -> None:
        if "error_code" in cls.__dict__:
            cls.error_mapping.setdefault(cls.error_code, cls)

    def __init__(self, message: str, *, error_code: HTTPStatus | None = None):
        self.message = message
        if error_code is not None:
            self.error_code = error_code
        super().__init__(message)


class InvalidArgument(BentoMLException):
    """An argument of a command, request or function is not valid."""

    error_code = HTTPStatus.BAD_REQUEST


class BadInput(InvalidArgument):
    """A request's input is not valid."""

    error_code = HTTPStatus.BAD_REQUEST


class NotFound(BentoMLException):
    """The named thing does not exist."""

    error_code = HTTPStatus.NOT_FOUND


class UnprocessableEntity(BentoMLException):
    """A request is well formed and cannot be processed."""

    error_code = HTTPStatus.UNPROCESSABLE_ENTITY


class ServiceUnavailable(BentoMLException):
    """The service cannot take the request now."""

    error_code = HTTPStatus.SERVICE_UNAVAILABLE


class InternalServerError(BentoMLException):
    """User code failed on a valid request."""


class RemoteException(BentoMLException):
    """An error that another server answered with."""

    def __init__(self, message: str, payload: BentoMLException | None = None):
        self.payload = payload
        super().__init__(message)


class BentoMLConfigException(BentoMLException):
    """The configuration is wrong or incomplete."""


class MissingDependencyException(BentoMLException):
    """A library that the feature needs is not installed."""


class APIDeprecated(BentoMLException):
    """A removed API was used."""


class CLIException(BentoMLException):
    """A command failed."""


class CloudRESTApiClientError(BentoMLException):
    """A cloud server refused a call or could not be reached."""


class ImportServiceError(BentoMLException):
    """The user's service could not be imported."""


class StateException(Exception):
    """An object is used in a state that does not allow it; not a ``BentoMLException``, so a call answers 500."""

    error_code = HTTPStatus.BAD_REQUEST


class UnservableException(StateException):
    """The service cannot be served."""


class ServerStateException(StateException):
    """A call needs a running server and there is none."""


def exception_for_status(status: int, message: str) -> BentoMLException:
    """Return the exception that a status stands for, of the class that was declared for it."""
    try:
        code = HTTPStatus(status)
    except ValueError:
        code = HTTPStatus.INTERNAL_SERVER_ERROR
    declared = BentoMLException.error_mapping.get(code)
    return RemoteException(message) if declared is None and code >= 500 else _made(declared, message, code)


def _made(declared: type[BentoMLException] | None, message: str, code: HTTPStatus) -> BentoMLException:
    if declared is None:
        return BentoMLException(message, error_code=code)
    try:
        return declared(message)
    except TypeError:  # a class of the user with a constructor of its own
        return BentoMLException(message, error_code=code)
