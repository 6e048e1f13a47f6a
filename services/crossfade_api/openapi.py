"""Corrections of FastAPI's OpenAPI document that hold for every route. Never adds a route, never answers one."""

from typing import Any

from crossfade_api.problems import PROBLEM_JSON


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
