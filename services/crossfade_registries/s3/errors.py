"""Say in this service's words what boto3's errors mean: whose move it is, whether trying again helps, what to do.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; other stores use the same codes, or just
the HTTP status.
"""

from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from botocore import exceptions as boto
from urllib3.exceptions import HTTPError

from crossfade_core.errors import (
    Detail,
    OutputMoved,
    SinkDenied,
    SinkError,
    SinkRateLimited,
    SinkUnavailable,
    SourceChanged,
    SourceDenied,
    SourceError,
    SourceNotFound,
    SourceRateLimited,
    SourceUnavailable,
    StagedFileLost,
)

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

MAX_QUOTED_CHARACTERS: Final = 300


class _Meaning(Enum):
    """What went wrong, and the way out."""

    EXPIRED = "the temporary keys of {credential} have expired; the operator must renew them"
    CLOCK = "this machine's clock and the store's differ by too much; set this machine's clock"
    DENIED = "the store refused {credential}; the operator must check its keys and their rights there"
    NO_KEYS = "no keys were found for {credential}; the operator must configure them"
    NO_BUCKET = "there is no such bucket; check its name and the endpoint"
    MISSING = "there is no such object; check the path"
    CHANGED = "the object was replaced while the job ran; submit the job again"
    REDIRECTED = "the bucket is elsewhere; the operator must check the region and the endpoint"
    LIMITED = "the store asks for fewer requests; try again later"
    AWAY = "the store could not be reached or failed; try again later"
    REFUSED = "the store refused the request"


_CODES: Final = {
    "AccessDenied": _Meaning.DENIED,
    "AccountProblem": _Meaning.DENIED,
    "AllAccessDisabled": _Meaning.DENIED,
    "AuthorizationHeaderMalformed": _Meaning.REDIRECTED,
    "BadDigest": _Meaning.AWAY,
    "BandwidthLimitExceeded": _Meaning.LIMITED,
    "ConditionalRequestConflict": _Meaning.AWAY,
    "ExpiredToken": _Meaning.EXPIRED,
    "ExpiredTokenException": _Meaning.EXPIRED,
    "IllegalLocationConstraintException": _Meaning.REDIRECTED,
    "IncompleteBody": _Meaning.AWAY,
    "InvalidAccessKeyId": _Meaning.DENIED,
    "InvalidObjectState": _Meaning.REFUSED,
    "InvalidRange": _Meaning.CHANGED,
    "InvalidToken": _Meaning.DENIED,
    "NoSuchBucket": _Meaning.NO_BUCKET,
    "NoSuchKey": _Meaning.MISSING,
    "NotSignedUp": _Meaning.DENIED,
    "OperationAborted": _Meaning.AWAY,
    "PermanentRedirect": _Meaning.REDIRECTED,
    "PreconditionFailed": _Meaning.CHANGED,
    "RequestLimitExceeded": _Meaning.LIMITED,
    "RequestTimeTooSkewed": _Meaning.CLOCK,
    "RequestTimeout": _Meaning.AWAY,
    "SignatureDoesNotMatch": _Meaning.DENIED,
    "SlowDown": _Meaning.LIMITED,
    "Throttling": _Meaning.LIMITED,
    "ThrottlingException": _Meaning.LIMITED,
    "TokenRefreshRequired": _Meaning.EXPIRED,
    "TooManyRequests": _Meaning.LIMITED,
    "XAmzContentChecksumMismatch": _Meaning.AWAY,
    "XAmzContentSHA256Mismatch": _Meaning.AWAY,
}
_STATUSES: Final[dict[int, _Meaning]] = {
    HTTPStatus.MOVED_PERMANENTLY: _Meaning.REDIRECTED,
    HTTPStatus.TEMPORARY_REDIRECT: _Meaning.REDIRECTED,
    HTTPStatus.UNAUTHORIZED: _Meaning.DENIED,
    HTTPStatus.FORBIDDEN: _Meaning.DENIED,
    HTTPStatus.NOT_FOUND: _Meaning.MISSING,
    HTTPStatus.REQUEST_TIMEOUT: _Meaning.AWAY,
    HTTPStatus.PRECONDITION_FAILED: _Meaning.CHANGED,
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: _Meaning.CHANGED,
    HTTPStatus.TOO_MANY_REQUESTS: _Meaning.LIMITED,
    HTTPStatus.NOT_IMPLEMENTED: _Meaning.REFUSED,
}
_NO_KEYS: Final = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.ProfileNotFound,
    boto.SSOError,
    boto.LoginError,
)
_TRANSPORT: Final = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    boto.ChecksumError,
    HTTPError,
    OSError,
)

S3_ERRORS: Final = (boto.ClientError, boto.BotoCoreError, HTTPError, OSError)
"""What a call of a client, or reading the body of its answer, may raise."""

_SOURCE_ERRORS: Final[dict[_Meaning, type[SourceError]]] = {
    _Meaning.EXPIRED: SourceDenied,
    _Meaning.CLOCK: SourceDenied,
    _Meaning.DENIED: SourceDenied,
    _Meaning.NO_KEYS: SourceDenied,
    _Meaning.NO_BUCKET: SourceNotFound,
    _Meaning.MISSING: SourceNotFound,
    _Meaning.CHANGED: SourceChanged,
    _Meaning.LIMITED: SourceRateLimited,
    _Meaning.AWAY: SourceUnavailable,
}
_SINK_ERRORS: Final[dict[_Meaning, type[SinkError]]] = {
    _Meaning.EXPIRED: SinkDenied,
    _Meaning.CLOCK: SinkDenied,
    _Meaning.DENIED: SinkDenied,
    _Meaning.NO_KEYS: SinkDenied,
    _Meaning.MISSING: StagedFileLost,
    _Meaning.CHANGED: OutputMoved,
    _Meaning.LIMITED: SinkRateLimited,
    _Meaning.AWAY: SinkUnavailable,
}


_IN_A_SINK: Final = {
    _Meaning.MISSING: "an object that this job had put there is gone; submit the job again",
    _Meaning.CHANGED: "somebody else wrote there while this job did; look at what is there, then submit the job again",
}


def source_error(error: Exception, where: str, **details: Detail) -> SourceError:
    """Return what `error`, met while reading, is called here.

    Args:
        error: A ClientError, a BotoCoreError, or a failure of the connection.
        where: What was read, as a URI; the message begins with it.
        details: Added to those that the error itself tells.
    """
    meaning = _meaning(error)
    kind = _SOURCE_ERRORS.get(meaning, SourceError)
    return kind(_message(meaning.value, error, where), **(_details(error) | details))


def sink_error(error: Exception, where: str, **details: Detail) -> SinkError:
    """Return what `error`, met while writing, is called here.

    Args:
        error: A ClientError, a BotoCoreError, or a failure of the connection.
        where: What was written, as a URI; the message begins with it.
        details: Added to those that the error itself tells.
    """
    meaning = _meaning(error)
    kind = _SINK_ERRORS.get(meaning, SinkError)
    return kind(_message(_IN_A_SINK.get(meaning, meaning.value), error, where), **(_details(error) | details))


def name_credential(client: "S3Client", credential: str) -> None:
    """Let the errors of a client know whose keys it uses.

    Args:
        client: The client.
        credential: How a message calls them; never a key.
    """

    def remember(parsed: dict[str, Any], **_: object) -> None:
        if "Error" in parsed:
            parsed["Error"]["Credential"] = credential

    client.meta.events.register("after-call.s3", remember)


def _meaning(error: Exception) -> _Meaning:
    if isinstance(error, boto.ClientError):
        status = _status(error)
        otherwise = _Meaning.AWAY if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _Meaning.REFUSED
        return _CODES.get(_text(error, "Code")) or _STATUSES.get(status, otherwise)
    if isinstance(error, _NO_KEYS):
        return _Meaning.NO_KEYS
    return _Meaning.AWAY if isinstance(error, _TRANSPORT) else _Meaning.REFUSED


def _message(words: str, error: Exception, where: str) -> str:
    credential = "this machine's own credential"
    if isinstance(error, boto.ClientError):
        credential = _text(error, "Credential") or "this service's credential"
    return f"{where}: {words.format(credential=credential)} ({_quoted(error)})"


def _quoted(error: Exception) -> str:
    """Return what store or client said, shortened; of a provider of keys only the kind of error: it may quote them."""
    if isinstance(error, _NO_KEYS):
        return type(error).__name__
    said = str(error)
    if isinstance(error, boto.ClientError):
        said = f"HTTP {_status(error)} {_text(error, 'Code')}: {_text(error, 'Message')}"
    printable = "".join(character if character.isprintable() else " " for character in said)
    return printable[:MAX_QUOTED_CHARACTERS]


def _details(error: Exception) -> dict[str, Detail]:
    if not isinstance(error, boto.ClientError):
        return {}
    asked = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", "")
    return {"retry_after_seconds": int(asked)} if asked.isascii() and asked.isdigit() else {}


def _status(error: boto.ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _text(error: boto.ClientError, field: str) -> str:
    return str(error.response.get("Error", {}).get(field, ""))
