"""Every error as an RFC 9457 problem. The only place that knows HTTP status codes of crossfade's errors.

Problems never show what nobody meant to say: an unexpected exception becomes a request id, its story goes to the log.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPMethod, HTTPStatus
from typing import Annotated, Any, Final, NamedTuple, NotRequired

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

from crossfade_api.invalid_fields import InvalidField, invalid_fields
from crossfade_core import errors

log = structlog.get_logger()

PROBLEM_JSON: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 5
_LATER: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)

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
    errors.SignatureInvalid: 422,
    errors.SourceUnsigned: 422,
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
    errors.OutputNotFound: 404,
    errors.OutputRejected: 409,
    errors.LineageDiffers: 409,
    errors.JobCancelled: 409,
    errors.DeadlineExceeded: 409,
    errors.LeaseLost: 409,
    errors.UnitCrashed: 500,
    errors.AttemptsExhausted: 500,
    errors.AlreadyUnderWay: 409,
    errors.QueueLimitReached: 429,
    errors.RateLimited: 429,
    errors.IdempotencyMismatch: 422,
    errors.RequestInFlight: 409,
    errors.LineageNotFound: 404,
    errors.KeyNotFound: 404,
    errors.KeyNameTaken: 409,
    errors.ScopeMissing: 403,
    errors.WebhookNotFound: 404,
    errors.WebhookRefused: 422,
    errors.WebhookUnreachable: 503,
    errors.SigningFailed: 503,
    errors.StoreUnavailable: 503,
    errors.QueueUnavailable: 503,
    # The client's and the command line's own: none is raised here.
    errors.WaitTimedOut: 503,
    errors.WebhookUnverified: 400,
    errors.SecretMalformed: 422,
    errors.KeyMalformed: 422,
    errors.ProgramMissing: 500,
    errors.Reported: 500,
    errors.ServiceUnreachable: 503,
    errors.ProcessFailed: 500,
    errors.StateDirInUse: 500,
}
"""A class that is not here has the status of its nearest parent that is; a new branch of the tree must be added."""


class HttpProblem(NamedTuple):
    """A problem that is no class of the tree: what HTTP itself refuses, and what nobody expected."""

    code: str
    meaning: str
    remedy: str


HTTP_PROBLEMS: Final = {
    400: HttpProblem(
        "bad_request", "The request is no HTTP request that the service can read.", "Correct it; `detail` says what."
    ),
    401: HttpProblem(
        "unauthorized",
        "The request carries no key, or one that opens nothing: unknown, expired or revoked.",
        "Send `Authorization: Bearer <key>` with a key that holds; an administrator makes one.",
    ),
    404: HttpProblem(
        "not_found", "There is no such path.", "Check the path; `GET /openapi.json` lists those there are."
    ),
    405: HttpProblem(
        "method_not_allowed", "The path is there, the method is not.", "Use one that the header `Allow` names."
    ),
    413: HttpProblem("body_too_large", "The body is over 1 MiB.", "Send less; a spec needs far fewer bytes."),
    421: HttpProblem(
        "host_not_allowed",
        "The `Host` header names another machine, and a server without a token answers to names of its own alone.",
        "Call it by `localhost` or `127.0.0.1`, or ask the operator to set `CROSSFADE_API_TOKEN`.",
    ),
    500: HttpProblem(
        "internal_error",
        "A fault of the service, not of the request; `details` has the request id under which its log says more.",
        "Give the operator the request id, and look whether the request took effect before sending it again.",
    ),
}

_MEANING: Final = {
    400: "The body is no text in UTF-8, or is nested too deeply to be read.",
    401: "No key, or one that opens nothing.",
    403: "The key does not have the right.",
    404: "There is no such thing.",
    409: "What is there already stands against it.",
    413: "The body is over 1 MiB.",
    422: "The request, or what it names, is not as it must be; `detail` says what to change.",
    429: "The key has sent as many requests in this minute, or has as many unfinished jobs, as it may; come back after "
    "`Retry-After` seconds.",
    503: "Something the service needs is away; come back after `Retry-After` seconds.",
}


class Problem(TypedDict):
    """What went wrong, for people (`detail`) and for programs (`code`); RFC 9457."""

    type: Annotated[str, Field(description="Path of its explanation here.", examples=["/problems/plan_refused"])]
    title: Annotated[str, Field(description="The code in words.", examples=["Plan refused"])]
    status: Annotated[int, Field(description="The HTTP status.", examples=[422])]
    detail: Annotated[str, Field(description="What was expected, what was found, where, and the way out.")]
    code: Annotated[str, Field(description="Stable; programs decide by it.", examples=["plan_refused"])]
    blame: Annotated[errors.Blame, Field(description="Whose move it is.")]
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
            known = HTTP_PROBLEMS.get(error.status_code) or HTTP_PROBLEMS[400 if error.status_code < 500 else 500]
            return _problem(error.status_code, known.code, error.detail, blame_of(error.status_code))
        case _:
            request_id = uuid.uuid4().hex
            detail = f"an error of the service, not of the request; its log has more under request id {request_id}"
            return _problem(500, HTTP_PROBLEMS[500].code, detail, blame_of(500), details={"request_id": request_id})


def blame_of(status: int) -> errors.Blame:
    """Return whose move it is after an error that HTTP's status alone tells."""
    return "user" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "service"


def title_of(code: str) -> str:
    """Return a code in words."""
    return code.replace("_", " ").capitalize()


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return the problem as a response; asks to come back later where that can help (429, 503).

    Args:
        problem: What to answer.
        headers: More headers; a `Retry-After` among them stands instead of the usual one.
    """
    retry = {"Retry-After": str(RETRY_AFTER_SECONDS)} if problem["status"] in _LATER else {}
    # ASCII escapes carry even the lone surrogates that a hostile body or file name can hold; UTF-8 cannot.
    return Response(json.dumps(problem), problem["status"], {**retry, **(headers or {})}, PROBLEM_JSON)


def install_problems(app: FastAPI) -> None:
    """Make `app` answer every error with a problem."""
    for kind in (errors.CrossfadeError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer)


def meaning_of(status: int) -> str:
    """Return what the API means by an HTTP status."""
    return _MEANING[status]


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that may answer with these problems."""
    return {status: {"model": Problem, "description": _MEANING[status]} for status in statuses}


async def _answer(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem["status"] >= 500:
        bound = log.bind(method=request.method, path=request.url.path, code=problem["code"], details=problem["details"])
        if problem["status"] == HTTPStatus.INTERNAL_SERVER_ERROR:
            bound.error("request.failed", exc_info=error)
        else:
            bound.warning("request.failed", reason=problem["detail"])
    headers = {**getattr(request.state, "answer_headers", {}), **(getattr(error, "headers", None) or {})}
    if problem["status"] == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
    return problem_response(problem, headers)


def _allowed(request: Request) -> list[str]:
    """Return the methods of every route of this path: the exception names those of the first alone."""
    asked = ({**request.scope, "method": method} for method in HTTPMethod)
    return [
        scope["method"].value
        for scope in asked
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    ]


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
        "title": title_of(code),
        "status": status,
        "detail": detail,
        "code": code,
        "blame": blame,
        "retryable": retryable,
        "details": dict(details or {}),
    }


def _invalid_request(found: Sequence[Mapping[str, Any]]) -> Problem:
    fields = invalid_fields(found)
    first = "; ".join(f"{field['pointer']}: {field['message']}" for field in fields[:3])
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    kind = errors.InvalidSpec
    problem = _problem(status_of(kind), kind.code, f"the request is not valid: {first}{more}", kind.blame)
    problem["errors"] = fields
    return problem
