"""Publish into a bucket through a proxy that counts and misbehaves, and look straight into the bucket afterwards."""

import contextlib
import dataclasses
import hashlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossfade_core.job import JobId
from crossfade_registries.retrying import Patience
from crossfade_registries.s3.sink import S3Sink
from crossfade_registries.s3.staging import STAGING
from crossfade_registries.settings import S3Destination
from tests.fakes.http_proxy import HttpProxy
from tests.registries.staging import JOB
from tests.s3_servers import S3Server

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

OTHER = JobId("job-2")
PREFIX = "team/outputs"
PART_BYTES = 5 << 20
FILES = {
    "config.json": b'{"a": 1}',
    "lineage.json": b'{"job": "job-1"}\n',
    "model-00001-of-00002.safetensors": os.urandom(PART_BYTES + 1000),
    "model-00002-of-00002.safetensors": os.urandom(3000),
    "model.safetensors.index.json": b'{"weight_map": {}}',
    "tokenizer.json": b"",
}
SHARD = "model-00001-of-00002.safetensors"
OLD = {
    **FILES,
    "lineage.json": b'{"job": "job-0"}\n',
    "model-00002-of-00002.safetensors": b"old",
    "model-00003-of-00003.safetensors": b"stale",
}
IMPATIENT = Patience(attempts=1)
QUICK = Patience(attempts=4, first_wait_seconds=0.01)


@dataclass
class Rig:
    """A server, a proxy before it, and a client of each that tries once: opening clients is what takes long."""

    server: S3Server
    proxy: HttpProxy
    client: "S3Client"
    proxied: "S3Client"

    def new_store(self) -> "Store":
        """Make an empty bucket; nothing goes wrong from here on until the test says so."""
        self.proxy.clear()
        bucket = f"test-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=bucket)
        return Store(self, bucket)


@contextlib.contextmanager
def rig_of(server: S3Server) -> Iterator[Rig]:
    """Put a proxy before a server."""
    with HttpProxy(server.endpoint_url) as proxy:
        through = dataclasses.replace(server, endpoint_url=proxy.url)
        with (
            contextlib.closing(server.client()) as client,
            contextlib.closing(through.client(max_pool_connections=16)) as proxied,
        ):
            yield Rig(server, proxy, client, proxied)


@dataclass
class Store:
    """A bucket of its own."""

    rig: Rig
    bucket: str

    @property
    def client(self) -> "S3Client":
        """A client that goes straight to the server."""
        return self.rig.client

    @property
    def proxy(self) -> HttpProxy:
        """The proxy that sinks go through."""
        return self.rig.proxy

    def sink(
        self,
        job: JobId = JOB,
        *,
        overwrite: bool = False,
        checksums: str = "crc64nvme",
        patience: Patience = IMPATIENT,
        client: "S3Client | None" = None,
    ) -> S3Sink:
        """Open a sink as a new process would; it tries everything once unless told."""
        destination = S3Destination(
            kind="s3", bucket=self.bucket, prefix=PREFIX, checksums=checksums, part_bytes=PART_BYTES
        )
        return S3Sink(client or self.rig.proxied, destination, job, overwrite=overwrite, patience=patience)

    def straight_sink(self, job: JobId = JOB, *, overwrite: bool = False) -> S3Sink:
        """Open a sink that does not go through the proxy."""
        return self.sink(job, overwrite=overwrite, client=self.client)

    def content(self) -> dict[str, bytes]:
        """Return everything in the bucket, staging included, by what follows the destination's prefix."""
        keys = [entry["Key"] for entry in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])]
        return {
            key.removeprefix(f"{PREFIX}/"): short(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())
            for key in keys
        }

    def visible(self) -> dict[str, bytes]:
        """Return what is not staging."""
        return {key: body for key, body in self.content().items() if not key.startswith(STAGING)}

    def uploads(self) -> list[str]:
        """Return the keys of the uploads under way."""
        found = self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return [upload["Key"].removeprefix(f"{PREFIX}/") for upload in found]

    def put(self, key: str, body: bytes = b"x", job: str = "") -> None:
        """Put an object below the prefix, as one of this service's jobs or as a stranger."""
        metadata = {"crossfade-job": job} if job else {}
        self.client.put_object(Bucket=self.bucket, Key=f"{PREFIX}/{key}", Body=body, Metadata=metadata)

    def asked(self, method: str) -> list[str]:
        """Return the keys that the proxy was asked for by a method, in order, without the prefix."""
        start = f"/{self.bucket}/{PREFIX}/"
        return [passed.path.removeprefix(start) for passed in self.proxy.traffic.requests if passed.method == method]


def below(name: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """Return files by key, as an output of that name."""
    return {f"{name}/{file}": short(body) for file, body in files.items()}


def short(body: bytes) -> bytes:
    """Return the digest of what is long: pytest takes minutes to show how megabytes differ."""
    return body if len(body) < 1000 else hashlib.sha256(body).digest()
