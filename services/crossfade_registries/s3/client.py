"""Open clients of S3-compatible stores. What their errors mean is `errors`; patience is `retrying`."""

import os
from typing import TYPE_CHECKING, Any, Final

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from crossfade_registries.s3.errors import S3_ERRORS, name_credential, sink_error, source_error
from crossfade_registries.settings import Credential, S3Access

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client
else:
    S3Client = object

__all__ = ["S3_ERRORS", "S3Client", "open_s3", "sink_error", "source_error"]

CONNECT_SECONDS: Final = 10
READ_SECONDS: Final = 60
"""Without a byte."""
CONNECTIONS: Final = 64
_NO_FILES: Final[dict[str, Any]] = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}
"""Of botocore's settings: those that lead to ~/.aws, as (key in a file, environment variable, value, conversion)."""


def open_s3(access: S3Access, credential: Credential | None) -> S3Client:
    """Return a client, safe to use from several threads, for as long as the process lives.

    Endpoint, region and checksums are what `access` says, whatever environment and ~/.aws say. Checksums are sent and
    verified where a call asks for them only: several stores know none, and others echo the whole object's on a range.

    Args:
        access: How the store is reached.
        credential: The keys; None for what boto3 finds on this machine, unless access is anonymous.

    Raises:
        SourceDenied: AWS_PROFILE names a profile that this machine does not have.
    """
    config = Config(
        region_name=access.region,
        signature_version=UNSIGNED if access.is_anonymous else None,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        tcp_keepalive=True,
        max_pool_connections=CONNECTIONS,
        # Trying again is the caller's: behind its back a put that must not replace would meet what it wrote itself.
        retries={"mode": "standard", "total_max_attempts": 1},
        s3={"addressing_style": "path" if access.path_style else "auto", "payload_signing_enabled": False},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        client = _session(access, credential).client("s3", endpoint_url=access.endpoint_url, config=config)
    except BotoCoreError as error:
        raise source_error(error, access.endpoint_url or "s3://") from error
    name_credential(client, _credential_name(access))
    return client


def _session(access: S3Access, credential: Credential | None) -> boto3.Session:
    is_the_machines = credential is None and not access.is_anonymous
    core = botocore.session.Session(session_vars=None if is_the_machines else _NO_FILES)
    core.set_config_variable("ignore_configured_endpoint_urls", True)
    if credential is None or access.is_anonymous:
        return boto3.Session(botocore_session=core)
    secret, token = credential.secret_access_key, credential.session_token
    return boto3.Session(
        aws_access_key_id=credential.access_key_id,
        aws_secret_access_key=None if secret is None else secret.get_secret_value(),
        aws_session_token=None if token is None else token.get_secret_value(),
        botocore_session=core,
    )


def _credential_name(access: S3Access) -> str:
    if access.is_anonymous:
        return "no credential (the configuration says is_anonymous)"
    if access.credential is None:
        return "this machine's own credential"
    return f"the credential {access.credential!r}"
