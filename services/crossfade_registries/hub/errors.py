"""Say in this service's words what went wrong at a Hub.

Nothing of a request is repeated in a message: its URL may be signed, its headers hold the token.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal, TypeVar

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from urllib3.exceptions import HTTPError, MaxRetryError

from crossfade_core.errors import (
    CrossfadeError,
    Detail,
    OutputMoved,
    SinkDenied,
    SinkError,
    SinkRateLimited,
    SinkUnavailable,
    SourceDenied,
    SourceError,
    SourceGated,
    SourceNotFound,
    SourceRateLimited,
    SourceUnavailable,
)

HUB_ERRORS: Final = (
    HTTPError,
    httpx2.HTTPError,
    httpx2.InvalidURL,
    EntryNotFoundError,
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
)
"""What a call of the client may raise: its own errors, its transports', and those of stumbling over an odd answer."""

Trouble = Literal["missing", "gated", "denied", "limited", "away", "stale", "refused"]

_SOURCE: Final[Mapping[Trouble, type[SourceError]]] = {
    "missing": SourceNotFound,
    "gated": SourceGated,
    "denied": SourceDenied,
    "limited": SourceRateLimited,
    "away": SourceUnavailable,
    "stale": SourceError,
    "refused": SourceError,
}
_SINK: Final[Mapping[Trouble, type[SinkError]]] = {
    "missing": SinkError,
    "gated": SinkDenied,
    "denied": SinkDenied,
    "limited": SinkRateLimited,
    "away": SinkUnavailable,
    "stale": OutputMoved,
    "refused": SinkError,
}
_STATUSES: Final[Mapping[int, Trouble]] = {
    401: "denied",
    403: "denied",
    404: "missing",
    408: "away",
    412: "stale",
    429: "limited",
}
_MAX_WORDS = 200
_RATE_LIMIT = re.compile(r'"\w+"\s*;\s*r\s*=\s*0+\s*;\s*t\s*=\s*(?P<seconds>\d+)')
_SECRETS = re.compile(r"hf_\w+|\?\S+|Bearer\s+\S+")
_E = TypeVar("_E", bound=CrossfadeError)


def source_error(error: Exception, where: str, **details: Detail) -> SourceError:
    """Return what `error` means for somebody who reads.

    Args:
        error: What the client raised, one of `HUB_ERRORS`.
        where: What was being read, as the job calls it: the message begins with it.
        **details: Facts for the error's details.
    """
    return _error(_SOURCE, error, where, details)


def sink_error(error: Exception, where: str, **details: Detail) -> SinkError:
    """Return what `error` means for somebody who writes; arguments as for `source_error`."""
    return _error(_SINK, error, where, details)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return how long the Hub asks to be left alone, or None when it does not say.

    Source: Retry-After as in RFC 9110, section 10.2.3; `RateLimit: "api";r=0;t=55` as in
    https://huggingface.co/docs/hub/rate-limits.
    """
    said = headers.get("retry-after", "").strip()
    if said.isdecimal():
        return float(said)
    if said:
        return _until(said)
    limit = _RATE_LIMIT.search(headers.get("ratelimit", ""))
    return float(limit["seconds"]) if limit is not None else None


def _error(kinds: Mapping[Trouble, type[_E]], error: Exception, where: str, details: dict[str, Detail]) -> _E:
    trouble, said = _describe(error)
    if isinstance(error, HfHubHTTPError) and trouble in ("limited", "away"):
        wait = retry_after_seconds(error.response.headers)
        if wait is not None:
            details["retry_after_seconds"] = wait
    return kinds[trouble](f"{where}: {said}", **details)


def _describe(error: Exception) -> tuple[Trouble, str]:
    if isinstance(error, HfHubHTTPError):
        return _describe_answer(error)
    if isinstance(error, EntryNotFoundError):
        return "missing", "the repository holds no such file at that revision"
    if isinstance(error, HFValidationError):
        return "refused", "this is no name of a repository; write hf://ORG/NAME@REVISION"
    if isinstance(error, PermissionError):  # also hf_xet's XetAuthenticationError
        return "denied", f"the storage refused: {_words(str(error))}; check the rights of the configured credential"
    if isinstance(error, MaxRetryError) and error.reason is not None:
        error = error.reason
    if isinstance(error, httpx2.HTTPError | HTTPError | OSError | RuntimeError):
        said = _words(str(error)) or type(error).__name__
        return "away", f"the Hub cannot be reached: {said}; check the endpoint and the network between"
    return "away", "the answer is none that a Hub gives; check the endpoint, and what stands between"


def _describe_answer(error: HfHubHTTPError) -> tuple[Trouble, str]:
    if isinstance(error, GatedRepoError):
        return "gated", f"the repository is gated; {_granted_where(error)}"
    if isinstance(error, DisabledRepoError):
        return "denied", "the repository has been disabled on the Hub; ask its owner"
    if isinstance(error, RepositoryNotFoundError):
        return (
            "missing",
            f"no such repository, or a private one, which looks the same; check its name, and {_rights(error)}",
        )
    if isinstance(error, RevisionNotFoundError):
        return "missing", "the repository has no such branch, tag or commit; see its page for those it has"
    if isinstance(error, EntryNotFoundError):
        return "missing", "the repository holds no such file at that revision"
    return _describe_status(error)


def _describe_status(error: HfHubHTTPError) -> tuple[Trouble, str]:
    status = error.response.status_code
    trouble = _STATUSES.get(status, "away" if status >= 500 else "refused")
    said = f"the Hub answered {status}"
    if words := _words(error.server_message or ""):
        said += f" ({words})"
    return trouble, said + _way_out(trouble, error)


def _way_out(trouble: Trouble, error: HfHubHTTPError) -> str:
    if trouble == "denied" and error.response.status_code == 401 and _is_authorised(error):
        return ": the token of the configured credential is wrong or expired; put a new one in its place"
    ways: Mapping[Trouble, str] = {
        "denied": f"; {_rights(error)}",
        "limited": "; it asks for fewer requests: try later, or with a credential whose account may send more",
        "away": "; try later",
        "stale": "; somebody else changed it meanwhile",
    }
    return ways.get(trouble, "; check the names and the revision")


def _rights(error: HfHubHTTPError) -> str:
    if _is_authorised(error):
        return "see that the account of the configured credential has the right"
    return "let the server's configuration name a credential: it has none for this Hub"


def _granted_where(error: GatedRepoError) -> str:
    url = error.response.request.url
    page = str(url.copy_with(path=f"/{error.repo_id}", query=None)) if error.repo_id else "its page"
    return f"ask for access at {page}" + ("" if _is_authorised(error) else f", then {_rights(error)}")


def _is_authorised(error: HfHubHTTPError) -> bool:
    return "authorization" in error.response.request.headers


def _words(text: str) -> str:
    """Of a foreign text, what may go into a message: one line, no URL's query, nothing like a token, no markup."""
    if "<" in text:
        return ""
    plain = " ".join(_SECRETS.sub("…", text).split())
    return "".join(sign for sign in plain if sign.isprintable())[:_MAX_WORDS]


def _until(date: str) -> float | None:
    try:
        at = parsedate_to_datetime(date)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
