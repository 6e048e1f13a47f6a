"""What the operator configures of registries: which may be read, what each destination id means, with whose credential.

A job names a source URI and a destination id; endpoints, buckets, namespaces and secrets are never a job's to say.
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    model_validator,
)

from crossfade_core.errors import KeyMalformed
from crossfade_registries.source_signatures import Policy, SourceTrust
from crossfade_signing.public_keys import read_public_key_file

HUB_ENDPOINT: Final = "https://huggingface.co"
MIN_PART_BYTES: Final = 5 << 20
"""Of every part of a multipart upload but the last: 5 MiB
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)."""
MAX_PART_BYTES: Final = 1 << 30


def _check_absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"{path} must be an absolute path")
    return path


def _check_endpoint(url: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~/-]*)?", url):
        raise ValueError("must be an http:// or https:// URL without user, query or fragment")
    return url.rstrip("/")


def _check_prefix(prefix: str) -> str:
    prefix = prefix.strip("/")
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise ValueError("must be plain names joined by '/', without '.', '..' or empty parts")
    return prefix


AbsolutePath = Annotated[Path, AfterValidator(_check_absolute)]
Endpoint = Annotated[str, AfterValidator(_check_endpoint)]
KeyPrefix = Annotated[str, Field(max_length=512), AfterValidator(_check_prefix)]
RootName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$")]
BucketName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")]
RepoPart = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$")]

WriteStrategy = Literal["auto", "buffered"]
"""Measured: past the page cache a sweep takes half the time and CPU (docs/performance.md)."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Credential(_Settings):
    """A secret by name: a Hub token, or a pair of S3 keys."""

    token: SecretStr | None = Field(default=None, description="Of a Hub account.")
    access_key_id: str | None = Field(default=None, description="Of an S3 account.")
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = Field(default=None, description="Of temporary S3 keys.")

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        keys = (self.access_key_id, self.secret_access_key)
        if self.token is not None and (any(keys) or self.session_token is not None):
            raise ValueError("give either a token, or access_key_id and secret_access_key")
        if self.token is None and not all(keys):
            raise ValueError("give a token, or access_key_id and secret_access_key")
        return self


class S3Access(_Settings):
    """How to reach a bucket of any S3-compatible store."""

    endpoint_url: Endpoint | None = Field(default=None, description="None for AWS.")
    region: str = Field(default="us-east-1", pattern=r"^[a-z0-9-]{1,64}$")
    path_style: bool = Field(default=False, description="Bucket in the path instead of the host name.")
    credential: RootName | None = Field(
        default=None, description="By name; None for what boto3 finds on this machine (environment, instance role)."
    )
    is_anonymous: bool = Field(default=False, description="Sign nothing: for public buckets.")


class S3Bucket(S3Access):
    """A bucket that jobs may read."""

    bucket: BucketName | None = Field(default=None, description="The name jobs use unless given.")
    prefix: KeyPrefix = Field(default="", description="Only what lies below is read.")


class HubAccess(_Settings):
    """The Hub that jobs may read from."""

    endpoint: Endpoint = HUB_ENDPOINT
    credential: RootName | None = Field(default=None, description="By name; None reads what is public.")
    repos: tuple[str, ...] = Field(
        default=("*",), description="Repositories that may be read, with `*` and `?`: `meta-llama/*`."
    )
    cache: AbsolutePath | None = Field(
        default=None, description="A hub cache: files it already holds are not fetched. None for the client's own."
    )


class _Destination(_Settings):
    users: tuple[str, ...] = Field(
        default=("*",),
        description="Names of the API keys that may publish there, with `*` and `?`; an administrator's always may.",
    )
    requires_approval: bool = Field(
        default=False,
        description="Keep every output staged, seen by nobody, until one of these keys that has the scope `approve` "
        "approves it.",
    )


class LocalDestination(_Destination):
    """A folder on a file system that every worker sees; it must exist."""

    kind: Literal["local"] = "local"
    path: AbsolutePath
    write: WriteStrategy = Field(
        default="auto", description="`auto` bypasses the page cache where the file system can; `buffered` never does."
    )


class S3Destination(_Destination, S3Access):
    """A place in a bucket; every output is a folder of keys below it."""

    kind: Literal["s3"]
    bucket: BucketName
    prefix: KeyPrefix = ""
    checksums: Literal["crc64nvme", "md5"] = Field(
        default="crc64nvme",
        description="What the store verifies uploads by; `md5` for stores without CRC64NVME. Where the store confirms "
        "neither, what was published is read back.",
    )
    part_bytes: int = Field(default=8 << 20, ge=MIN_PART_BYTES, le=MAX_PART_BYTES, description="Of a multipart upload.")


class HubDestination(_Destination):
    """A namespace on a Hub; every output is a repository of its own, or a branch."""

    kind: Literal["hub"]
    namespace: RepoPart = Field(description="User or organisation.")
    endpoint: Endpoint = HUB_ENDPOINT
    credential: RootName
    outputs: Literal["repo", "branch"] = Field(
        default="repo",
        description="`repo`: an output's name is a repository's. `branch`: it is REPO/BRANCH, or BRANCH of `repo`.",
    )
    repo: RepoPart | None = Field(default=None, description="The repository of outputs that name a branch only.")
    visibility: Literal["private", "public"] = "private"


def _kind_of(value: object) -> str | None:
    if isinstance(value, dict):
        return str(value.get("kind", "local"))
    return getattr(value, "kind", None)


Destination = Annotated[
    Annotated[LocalDestination, Tag("local")]
    | Annotated[S3Destination, Tag("s3")]
    | Annotated[HubDestination, Tag("hub")],
    Discriminator(_kind_of, custom_error_type="kind", custom_error_message="kind must be local, s3 or hub"),
]


class RegistrySettings(_Settings):
    """The registries of one deployment; API and workers are told the same."""

    roots: dict[RootName, AbsolutePath] = Field(
        default_factory=dict, description="Folders that sources may be read from, by the name jobs use."
    )
    buckets: dict[RootName, S3Bucket] = Field(
        default_factory=dict, description="Buckets that sources may be read from, by the name jobs use."
    )
    hub: HubAccess = Field(default_factory=HubAccess, description="The Hub that sources may be read from.")
    destinations: dict[RootName, Destination] = Field(
        default_factory=dict, description="Where outputs may be published, by the id jobs use."
    )
    credentials: dict[RootName, Credential] = Field(
        default_factory=dict, description="Secrets, by the name that buckets, hub and destinations use."
    )
    scratch: AbsolutePath = Field(
        default_factory=lambda: Path(tempfile.gettempdir()),
        description="Local folder that shards on their way to a Hub pass through.",
    )
    units_at_once: int = Field(
        default=1, ge=1, le=1024, description="How many merge workers share one machine, and its scratch."
    )

    source_signatures: Policy = Field(
        default="ignore",
        description="What becomes of sources whose `model.sig` is missing or not by one of `source_keys`: not looked "
        "at; told in plan and lineage; refused.",
    )
    source_keys: tuple[AbsolutePath, ...] = Field(
        default=(), description="Public keys (PEM, EC P-256) whose signatures of sources count."
    )

    patience_seconds: float = Field(
        default=300, ge=0, le=3600, description="How long one request to a registry that is away is tried again."
    )

    @model_validator(mode="after")
    def _check_source_keys(self) -> Self:
        try:
            self.trust()
        except KeyMalformed as error:
            raise ValueError(f"source_keys: {error.message}") from None
        if self.source_signatures != "ignore" and not self.source_keys:
            raise ValueError(f"source_signatures is {self.source_signatures!r}, and source_keys names no key")
        return self

    def trust(self) -> SourceTrust:
        """Return what is asked of the signatures of sources, the keys read from their files.

        Raises:
            KeyMalformed: A file cannot be read, or holds no public key.
        """
        return SourceTrust(self.source_signatures, tuple(map(read_public_key_file, self.source_keys)))

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
        for place, name, needs_token in self._named():
            found = self.credentials.get(name)
            if found is None:
                raise ValueError(f"{place}: there is no credential {name!r}")
            if (found.token is not None) != needs_token:
                raise ValueError(
                    f"{place}: credential {name!r} must be {'a token' if needs_token else 'a pair of keys'}"
                )
        return self

    def _named(self) -> Iterator[tuple[str, str, bool]]:
        """Yield who names which credential, and whether it must be a token."""
        if self.hub.credential is not None:
            yield "hub", self.hub.credential, True
        for name, bucket in self.buckets.items():
            if bucket.credential is not None:
                yield f"buckets.{name}", bucket.credential, False
        for name, destination in self.destinations.items():
            if not isinstance(destination, LocalDestination) and destination.credential is not None:
                yield f"destinations.{name}", destination.credential, isinstance(destination, HubDestination)
