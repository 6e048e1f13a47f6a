"""Tokens that lead to the next page of a list: opaque to callers, good for the list that gave them out and no other."""

import base64
import json
import re
from typing import Annotated, Final

from fastapi.exceptions import RequestValidationError
from pydantic import Field

from crossfade_core.spec import json_digest

PageToken = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,512}$")]
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,40}", re.ASCII)
_DIGEST_CHARACTERS: Final = 23


def write_token(last: str, wanted: object) -> str:
    """Return the token of the page that begins after the entry `last`.

    Args:
        last: The entry's id.
        wanted: The list's filter; its `repr` tells one from another.
    """
    return base64.urlsafe_b64encode(json.dumps([_digest(wanted), last]).encode()).decode().rstrip("=")


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
