"""Read remote sources as the user at this machine: with the endpoints and the credentials their own tools would use."""

import functools
import os

import huggingface_hub
from pydantic import SecretStr

from crossfade_core.ports import Source
from crossfade_core.source_ref import HubRef, S3Ref
from crossfade_registries.config import Registries
from crossfade_registries.settings import Credential, HubAccess, RegistrySettings, S3Bucket


def open_own_source(ref: HubRef | S3Ref) -> Source:
    """Open a source with `HF_ENDPOINT` and the logged-in Hub token, or `AWS_ENDPOINT_URL…`, `AWS_REGION`, boto3's keys.

    Source: https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables and
    https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html

    Raises:
        SourceError: It is not there, or may not be read.
    """
    return _registries(ref.bucket if isinstance(ref, S3Ref) else None).open_source(ref.uri)


@functools.cache
def _registries(bucket: str | None) -> Registries:
    token = huggingface_hub.get_token()
    hub = HubAccess(endpoint=huggingface_hub.constants.ENDPOINT, credential=None if token is None else "own")
    return Registries(
        RegistrySettings(
            hub=hub,
            credentials={} if token is None else {"own": Credential(token=SecretStr(token))},
            buckets={} if bucket is None else {bucket: _bucket()},
        )
    )


def _bucket() -> S3Bucket:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return S3Bucket(endpoint_url=endpoint, region=region, path_style=endpoint is not None)
