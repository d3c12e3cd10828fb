"""Errors as clients of OpenAI's interface know them: a status, and {"error": {message, type, param, code}}."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from nextword.core.errors import CheckpointError, DataError, NextwordError

KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
GONE = 499  # nobody reads it; nginx logs it so
LONGEST_MESSAGE = 1000  # characters of what a client sent that its error repeats


class Refusal(NextwordError):
    """A request that is answered with an error; `status` is HTTP's, `code` a name that programs can look at."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.headers = status, param, code, headers


def refusal_of(error: NextwordError) -> Refusal:
    """The error of a user of the library as one of the server: what cannot be asked is 400, a broken model 500."""
    if isinstance(error, Refusal):
        return error
    return Refusal(500 if isinstance(error, CheckpointError) else 400, str(error))


def content(error: Refusal) -> dict[str, Any]:
    """The body of the answer."""
    kind = KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")  # noqa: PLR2004
    message = str(error)[:LONGEST_MESSAGE].encode("utf-8", "replace").decode()  # half a surrogate pair is no UTF-8
    return {"error": {"message": message, "type": kind, "param": error.param, "code": error.code}}


def answer(error: Refusal) -> JSONResponse:
    """The answer as a whole."""
    return JSONResponse(content(error), error.status, error.headers)


def add_handlers(app: FastAPI) -> None:
    """Lets every error of `app` leave in this shape."""

    async def ours(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, NextwordError)
        return answer(refusal_of(error))

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return answer(of_validation(error.errors()))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return answer(Refusal(error.status_code, f"{error.detail}: {request.method} {request.url.path}"))

    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=GONE)

    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(NextwordError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def of_validation(found: Sequence[Mapping[str, Any]]) -> Refusal:
    """The first thing that is wrong with a body, with the name of its field."""
    first = found[0]
    if first["type"] == "json_invalid":
        return Refusal(400, f"the body is not valid JSON: {first.get('ctx', {}).get('error', first['msg'])}")
    name = ".".join(str(step) for step in first["loc"] if step != "body")
    if first["type"] == "extra_forbidden":
        return Refusal(400, f"unknown field {name!r}: leave it out", param=name, code="unknown_parameter")
    return Refusal(400, f"{name or 'the body'}: {first['msg']}", param=name or None)


def data_refusal(error: DataError, param: str) -> Refusal:
    """An error in what a client sent, with the name of the field that it stands in."""
    return Refusal(400, str(error), param=param)
