"""JSON's types as they are written: text is no number, a number no boolean, and a time is RFC 3339. Never a default."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Strict
from pydantic.config import JsonDict

UNSEEN: Final = (
    "\\x00-\\x1f\\x7f-\\xa0\\xad\\u061c\\u1680\\u180e\\u2000-\\u200f\\u2028-\\u202f\\u205f-\\u206f\\u3000\\ue000-\\uf8ff"
    "\\ufeff\\ufff0-\\uffff\U000e0000-\U0010ffff"
)
"""Of a character class, in Python as in JSON Schema (ECMA-262): controls, marks that turn or join what stands beside
them, spaces other than the plain one, private use, tags. The schema need not name surrogates: no UTF-8 holds one."""

_UNSEEN: Final = re.compile(f"[{UNSEEN}\\ud800-\\udfff]")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.IGNORECASE | re.ASCII)


def is_seen(text: str) -> bool:
    """Tell whether every character of a text shows: a reader sees what a program compares."""
    return _UNSEEN.search(text) is None


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number is expected")
    return value


def _time_text(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _TIME.fullmatch(value)):
        return value
    raise ValueError("a time with its zone is expected, such as 2031-05-01T12:00:00Z (RFC 3339)")


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a time is expected that lies in the years 1 to 9999 in UTC too") from error


def repeatable(schema: JsonDict) -> None:
    """Let a set's items be given twice, as pydantic does, whatever it says of that."""
    schema.pop("uniqueItems", None)


NOT_TEXT: Final = BeforeValidator(_number)
"""Of numbers; stands behind their limits, which pydantic would leave out of the schema otherwise."""
Flag = Annotated[bool, Strict()]
Time = Annotated[AwareDatetime, BeforeValidator(_time_text), AfterValidator(_in_utc)]
