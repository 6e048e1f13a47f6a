"""From an answer that is no success to an error: problem+json (RFC 9457), and what proxies say instead of it."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from crossfade_core.errors import Reported


def refusal_of(response: httpx.Response) -> Reported:
    """Return the error that an answer tells; anything but a problem is told by its status.

    `retry_after_seconds` is in its record where the service, or a proxy before it, asked to come back later.
    """
    try:
        problem = response.json()
    except ValueError:
        problem = None
    later = {} if (seconds := _retry_after_seconds(response)) is None else {"retry_after_seconds": seconds}
    if not isinstance(problem, dict) or "code" not in problem:
        asked = f"{response.request.method} {response.request.url}"
        message = f"{asked} was answered {response.status_code} {response.reason_phrase}; is it a crossfade service?"
        is_passing = response.is_server_error or response.status_code == httpx.codes.TOO_MANY_REQUESTS
        return Reported(message, {"code": "unexpected_answer", "retryable": is_passing, **later})
    said = [str(problem.get("detail") or problem.get("title") or problem["code"])]
    said += [f"{item.get('pointer', '')}: {item.get('message', '')}" for item in problem.get("errors") or ()]
    message = "; ".join(said)
    if response.status_code == httpx.codes.UNAUTHORIZED:
        message += "; put your key, or the service's token, in the environment variable CROSSFADE_TOKEN"
    return Reported(message, {**problem, "message": message, **later})


def _retry_after_seconds(response: httpx.Response) -> float | None:
    """Read `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3)."""
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # no date, or one without a time zone
        return None
