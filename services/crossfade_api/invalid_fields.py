"""Which places of an invalid request are wrong: pydantic's findings as pointers that the sender can follow."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Final
from urllib.parse import quote

from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

from crossfade_core.spec import INSTRUCT_KINDS

_NAMED_FIELDS: Final = 100
_NO_JSON_OBJECT: Final = "a JSON object is expected, sent as Content-Type: application/json"
_IN_JSON_WORDS: Final = {
    "tuple_type": "a JSON array is expected",
    "frozen_set_type": "a JSON array is expected",
    "dict_type": "a JSON object is expected",
    "model_type": "a JSON object is expected",
    "model_attributes_type": "a JSON object is expected",
}
_FRAGMENT: Final = "!$&'()*+,;=:@/?"
"""What a URI's fragment takes unescaped beside letters, digits and `-._~`: RFC 3986, section 3.5."""


class InvalidField(TypedDict):
    """One place of a request that is wrong."""

    pointer: Annotated[
        str,
        Field(
            description="JSON Pointer into the body as a URI fragment (RFC 6901, section 6): `#/lambdas/0`; or "
            "`query/NAME`, `path/NAME`, `header/NAME` for a parameter.",
            examples=["#/schedule/0/factor"],
        ),
    ]
    message: Annotated[str, Field(description="What was expected there.")]


def invalid_fields(found: Sequence[Mapping[str, Any]]) -> list[InvalidField]:
    """Translate what FastAPI found, at most a hundred places."""
    return [_invalid_field(item) for item in found[:_NAMED_FIELDS]]


def _invalid_field(item: Mapping[str, Any]) -> InvalidField:
    place, *path = item["loc"]
    if item["type"] == "json_invalid":
        return {"pointer": "#", "message": f"no JSON: {item['ctx']['error']} at character {path[0]}"}
    if not path and item["type"] in ("missing", "model_attributes_type"):
        return {"pointer": "#", "message": _NO_JSON_OBJECT}
    message = _IN_JSON_WORDS.get(item["type"]) or item["msg"].removeprefix("Value error, ")
    pointer = _json_pointer(_as_written(path)) if place == "body" else f"{place}/{path[0]}"
    return {"pointer": pointer, "message": message}


def _as_written(path: Sequence[object]) -> list[object]:
    """Return the path without the tags that pydantic puts behind the name of a union's field."""
    return [
        *path[:1],
        *(part for before, part in pairwise(path) if not (before == "instruct" and part in INSTRUCT_KINDS)),
    ]


def _json_pointer(path: Iterable[object]) -> str:
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in path)
    # A lone surrogate is not to be had in UTF-8; a question mark in its place still shows where.
    return "#" + "".join("/" + quote(part, safe=_FRAGMENT, errors="replace") for part in parts)
