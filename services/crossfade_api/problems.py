"""Every error as an RFC 9457 problem. The only place that knows HTTP status codes of crossfade's errors.

Problems never show what nobody meant to say: an unexpected exception becomes a request id, its story goes to the log.
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, NotRequired

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

from crossfade_core import errors
from crossfade_core.spec import INSTRUCT_KINDS

log = structlog.get_logger()

PROBLEM_JSON: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 5
_LATER: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_NAMED_FIELDS: Final = 100

STATUS: Final[dict[type[errors.CrossfadeError], int]] = {
    errors.InvalidSpec: 422,
    errors.CheckpointError: 422,
    errors.PlanRefused: 422,
    errors.QuantisationUnsupported: 422,
    errors.TokensConflict: 422,
    errors.ScheduleRefused: 422,
    errors.MergeRefused: 422,
    errors.TensorsDiffer: 422,
    errors.NonFinite: 422,
    errors.OutputOverflow: 422,
    errors.SourceError: 502,
    errors.UnknownRoot: 422,
    errors.PathOutsideRoot: 422,
    errors.SourceNotFound: 422,
    errors.SourceChanged: 409,
    errors.SourceNotAllowed: 422,
    errors.SourceDenied: 422,
    errors.SourceGated: 422,
    errors.ShortRead: 503,
    errors.SourceCorrupted: 503,
    errors.SourceUnavailable: 503,
    errors.SinkError: 500,
    errors.UnknownDestination: 422,
    errors.DestinationNotAllowed: 403,
    errors.OutputExists: 409,
    errors.OutputNameUnsafe: 422,
    errors.OutputMoved: 409,
    errors.ScratchTooSmall: 507,
    errors.StagedFileCorrupted: 503,
    errors.SinkUnavailable: 503,
    errors.JobNotFound: 404,
    errors.IllegalTransition: 409,
    errors.JobCancelled: 409,
    errors.DeadlineExceeded: 409,
    errors.LeaseLost: 409,
    errors.UnitCrashed: 500,
    errors.AttemptsExhausted: 500,
    errors.AlreadyUnderWay: 409,
    errors.QueueLimitReached: 429,
    errors.IdempotencyMismatch: 422,
    errors.RequestInFlight: 409,
    errors.KeyNotFound: 404,
    errors.KeyNameTaken: 409,
    errors.ScopeMissing: 403,
    errors.WebhookNotFound: 404,
    errors.WebhookRefused: 422,
    errors.WebhookUnreachable: 503,
    errors.StoreUnavailable: 503,
    errors.QueueUnavailable: 503,
    # The client's and the command line's own: none is raised here.
    errors.WaitTimedOut: 503,
    errors.WebhookUnverified: 400,
    errors.SecretMalformed: 422,
    errors.ProgramMissing: 500,
    errors.Reported: 500,
    errors.ServiceUnreachable: 503,
    errors.ProcessFailed: 500,
    errors.StateDirInUse: 500,
}
"""A class that is not here has the status of its nearest parent that is; a new branch of the tree must be added."""

_HTTP_CODES: Final = {
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    421: "host_not_allowed",
}

_MEANING: Final = {
    401: "No key, or one that opens nothing.",
    403: "The key does not have the right.",
    404: "There is no such thing.",
    409: "What is there already stands against it.",
    413: "The body is over 1 MiB.",
    422: "The request, or what it names, is not as it must be; `detail` says what to change.",
    429: "The key has as many unfinished jobs as it may have; come back after `Retry-After` seconds.",
    503: "Something the service needs is away; come back after `Retry-After` seconds.",
}


class InvalidField(TypedDict):
    """One place of a request that is wrong."""

    pointer: Annotated[
        str, Field(description="JSON Pointer into the body (`#/lambdas/0`), or `query/NAME` for a parameter.")
    ]
    message: Annotated[str, Field(description="What was expected there.")]


class Problem(TypedDict):
    """What went wrong, for people (`detail`) and for programs (`code`); RFC 9457."""

    type: Annotated[str, Field(description="`/problems/` and the code.", examples=["/problems/plan_refused"])]
    title: Annotated[str, Field(description="The code in words.", examples=["Plan refused"])]
    status: Annotated[int, Field(description="The HTTP status.", examples=[422])]
    detail: Annotated[str, Field(description="What was expected, what was found, where, and the way out.")]
    code: Annotated[str, Field(description="Stable; programs decide by it.", examples=["plan_refused"])]
    blame: Annotated[Literal["user", "upstream", "service"], Field(description="Whose move it is.")]
    retryable: Annotated[bool, Field(description="Whether the same request can succeed later.")]
    details: Annotated[dict[str, Any], Field(description="The facts of `detail`, for programs.")]
    errors: NotRequired[Annotated[list[InvalidField], Field(description="Each wrong place of an invalid request.")]]


def status_of(kind: type[errors.CrossfadeError]) -> int:
    """Return the HTTP status of an error class.

    Raises:
        KeyError: Neither the class nor a parent of it is in `STATUS`.
    """
    for parent in kind.__mro__:
        if parent in STATUS:
            return STATUS[parent]
    raise KeyError(kind)


def problem_of(error: Exception) -> Problem:
    """Translate any exception that reaches the edge of the process."""
    match error:
        case errors.CrossfadeError():
            status = status_of(type(error))
            return _problem(
                status, error.code, error.message, error.blame, retryable=error.retryable, details=error.details
            )
        case RequestValidationError():
            return _invalid_request(error.errors())
        case HTTPException():
            code = _HTTP_CODES.get(error.status_code, "bad_request" if error.status_code < 500 else "internal_error")
            return _problem(error.status_code, code, error.detail, "user" if error.status_code < 500 else "service")
        case _:
            request_id = uuid.uuid4().hex
            detail = f"an error of the service, not of the request; its log has more under request id {request_id}"
            return _problem(500, "internal_error", detail, "service", details={"request_id": request_id})


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return the problem as a response; asks to come back later where that can help (429, 503)."""
    retry = {"Retry-After": str(RETRY_AFTER_SECONDS)} if problem["status"] in _LATER else {}
    # ASCII escapes carry even the lone surrogates that a hostile body or file name can hold; UTF-8 cannot.
    return Response(json.dumps(problem), problem["status"], {**(headers or {}), **retry}, PROBLEM_JSON)


def install_problems(app: FastAPI) -> None:
    """Make `app` answer every error with a problem."""
    for kind in (errors.CrossfadeError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that may answer with these problems."""
    return {status: {"model": Problem, "description": _MEANING[status]} for status in statuses}


def correct_openapi(document: dict[str, Any]) -> None:
    """Correct what FastAPI's document says of errors, in place.

    It files every model under the route's own media type, and adds its own 422 to any route with a parameter.
    """
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        answers = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        for status, answer in answers.items():
            (content,) = answer["content"].values()
            if content["schema"]["$ref"].endswith("/Problem"):
                answer["content"] = {PROBLEM_JSON: content}
            else:
                del operation["responses"][status]
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)


async def _answer(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem["status"] >= 500:
        bound = log.bind(method=request.method, path=request.url.path, code=problem["code"], details=problem["details"])
        if problem["status"] == HTTPStatus.INTERNAL_SERVER_ERROR:
            bound.error("request.failed", exc_info=error)
        else:
            bound.warning("request.failed", reason=problem["detail"])
    return problem_response(problem, getattr(error, "headers", None))


def _problem(
    status: int,
    code: str,
    detail: str,
    blame: errors.Blame,
    *,
    retryable: bool = False,
    details: Mapping[str, Any] | None = None,
) -> Problem:
    return {
        "type": f"/problems/{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        "blame": blame,
        "retryable": retryable,
        "details": dict(details or {}),
    }


def _invalid_request(found: Sequence[Mapping[str, Any]]) -> Problem:
    fields = [_invalid_field(item) for item in found[:_NAMED_FIELDS]]
    first = "; ".join(f"{field['pointer']}: {field['message']}" for field in fields[:3])
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    kind = errors.InvalidSpec
    problem = _problem(status_of(kind), kind.code, f"the request is not valid: {first}{more}", kind.blame)
    problem["errors"] = fields
    return problem


def _invalid_field(item: Mapping[str, Any]) -> InvalidField:
    place, *path = item["loc"]
    if item["type"] == "json_invalid":
        return {"pointer": "#", "message": f"no JSON: {item['ctx']['error']} at character {path[0]}"}
    if place != "body":
        return {"pointer": "/".join(map(str, item["loc"])), "message": item["msg"]}
    if not path and item["type"] in ("missing", "model_attributes_type"):
        return {"pointer": "#", "message": "a JSON object is expected, sent as Content-Type: application/json"}
    if path[:1] == ["instruct"] and path[1:2] in [[kind] for kind in INSTRUCT_KINDS]:
        path = [path[0], *path[2:]]
    return {"pointer": _json_pointer(path), "message": item["msg"].removeprefix("Value error, ")}


def _json_pointer(path: Iterable[object]) -> str:
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
