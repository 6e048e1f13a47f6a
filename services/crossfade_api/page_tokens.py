"""Tokens that lead to the next page of a list: opaque to callers, good for the list that gave them out and no other."""

import base64
import json
import re
from collections.abc import Sequence
from typing import Annotated, Final, Protocol, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import Field

from crossfade_core.canonical_json import json_digest

PageToken = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,512}$")]
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,40}", re.ASCII)
_DIGEST_CHARACTERS: Final = 23


class _Entry(Protocol):
    @property
    def id(self) -> str: ...


_Found = TypeVar("_Found", bound=_Entry)


def cut_page(found: Sequence[_Found], limit: int, wanted: object) -> tuple[Sequence[_Found], str | None]:
    """Return a page, and the token of the next one; None on the last.

    Args:
        found: The entries of the page, and one more where there is one.
        limit: How many a page holds.
        wanted: The list's filter; its `repr` tells one from another.
    """
    page = found[:limit]
    if len(found) <= limit:
        return page, None
    token = json.dumps([_digest(wanted), page[-1].id]).encode()
    return page, base64.urlsafe_b64encode(token).decode().rstrip("=")


def read_token(token: str | None, wanted: object) -> str | None:
    """Return the id after which a page begins; None for the first page.

    Raises:
        RequestValidationError: No list gives out such tokens, or a list with another filter gave it out.
    """
    if token is None:
        return None
    try:
        digest, last = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, TypeError):
        digest = last = None
    if not isinstance(last, str) or not _ID.fullmatch(last) or digest != _digest(wanted):
        message = (
            "not a token of this list with these filters; give `next` of a page as it is, with that page's filters, or "
            "leave it out"
        )
        raise RequestValidationError([{"type": "page_token", "loc": ("query", "page"), "msg": message}])
    return last


def _digest(wanted: object) -> str:
    return json_digest(repr(wanted))[:_DIGEST_CHARACTERS]
