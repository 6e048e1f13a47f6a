"""Corrections of FastAPI's OpenAPI document that hold for every route. Never adds a route, never answers one."""

from collections.abc import Iterator
from typing import Any, Final

from crossfade_api.problems import PROBLEM_JSON, meaning_of

_COUNTED: Final = "/v1/"
_HEADERS: Final = {
    "RateLimit-Policy": {
        "description": "How many requests the caller may send (`q`) in how many seconds (`w`); absent where any number "
        "may be sent. draft-ietf-httpapi-ratelimit-headers.",
        "schema": {"type": "string", "examples": ['"requests";q=1200;w=60']},
    },
    "RateLimit": {
        "description": "How many requests are left (`r`), and after how many seconds there are all again (`t`).",
        "schema": {"type": "string", "examples": ['"requests";r=1199;t=60']},
    },
    "Retry-After": {
        "description": "After how many seconds to send the request again.",
        "schema": {"type": "integer", "examples": [5]},
    },
}


def correct_openapi(document: dict[str, Any]) -> None:
    """Correct what FastAPI's document says of errors, and say what every counted call has in common, in place.

    FastAPI files every model under the route's own media type, and adds its own 422 to any route with a parameter.
    """
    for path, operation in _operations(document):
        answers = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        for status, answer in answers.items():
            (content,) = answer["content"].values()
            if content["schema"]["$ref"].endswith("/Problem"):
                answer["content"] = {PROBLEM_JSON: content}
            else:
                del operation["responses"][status]
        if path.startswith(_COUNTED):
            _add_limits(operation)
    document["components"]["headers"] = dict(_HEADERS)
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            yield path, operation


def _add_limits(operation: dict[str, Any]) -> None:
    problem = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    operation["responses"].setdefault("429", {"description": meaning_of(429), "content": problem})
    operation["responses"] = dict(sorted(operation["responses"].items()))
    for status, answer in operation["responses"].items():
        references = {name: {"$ref": f"#/components/headers/{name}"} for name in _header_names(status)}
        if references:
            answer["headers"] = {**answer.get("headers", {}), **references}


def _header_names(status: str) -> list[str]:
    if status == "401":  # then nobody knows who calls
        return []
    return [name for name in _HEADERS if name != "Retry-After" or status in ("429", "503")]
