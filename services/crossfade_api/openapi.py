"""Corrections of FastAPI's OpenAPI document that hold for every route. Never adds a route, never answers one."""

from collections.abc import Iterator
from typing import Any, Final

from crossfade_api.openapi_links import add_links
from crossfade_api.problems import PROBLEM_JSON, meaning_of

_COUNTED: Final = "/v1/"
_LIMITS: Final = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
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
    """Correct what FastAPI's document says of errors, and say what calls have in common and lead to, in place.

    FastAPI files every model under the route's own media type, adds its own 422 to any route with a parameter, lets
    parameters be null, which no URL and no header can say, and writes every limit as a float.
    """
    for path, operation in _operations(document):
        answers = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        for status, answer in answers.items():
            (content,) = answer["content"].values()
            if content["schema"]["$ref"].endswith("/Problem"):
                answer["content"] = {PROBLEM_JSON: content}
            else:
                del operation["responses"][status]
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _without_null(parameter["schema"])
        if "requestBody" in operation:
            _add_problem(operation, 400)
        if path.startswith(_COUNTED):
            _add_limits(operation)
        add_links(operation)
    _write_whole_limits(document)
    document["components"]["headers"] = dict(_HEADERS)
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            yield path, operation


def _add_limits(operation: dict[str, Any]) -> None:
    _add_problem(operation, 429)
    for status, answer in operation["responses"].items():
        references = {name: {"$ref": f"#/components/headers/{name}"} for name in _header_names(status)}
        if references:
            answer["headers"] = {**answer.get("headers", {}), **references}


def _add_problem(operation: dict[str, Any], status: int) -> None:
    problem = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    operation["responses"].setdefault(str(status), {"description": meaning_of(status), "content": problem})
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    others = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(others) != 1:
        return schema
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **others[0]}


def _write_whole_limits(part: object) -> None:
    """Write a limit such as 2^63 as it is: as a float it is read as any of a thousand whole numbers."""
    if isinstance(part, list):
        for item in part:
            _write_whole_limits(item)
    elif isinstance(part, dict):
        for name, value in part.items():
            if name in _LIMITS and isinstance(value, float) and value.is_integer() and abs(value) <= 2**63:
                part[name] = int(value)
            _write_whole_limits(value)


def _header_names(status: str) -> list[str]:
    if status == "401":  # then nobody knows who calls
        return []
    return [name for name in _HEADERS if name != "Retry-After" or status in ("429", "503")]
