"""A bucket on a real S3 server, behind a proxy that counts and misbehaves."""

import contextlib
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossfade_registries.s3.staging import STAGING
from tests.fakes.http_faults import Action, Disconnect, ShortAnswer, Status
from tests.fakes.http_proxy import HttpProxy
from tests.ports.places import Moment, RemotePlace
from tests.s3_servers import S3Server

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

MODELS, OUTPUTS = "team/models", "team/outputs"
PART_BYTES = 5 << 20
EXPIRED = Status(
    403,
    {"Content-Type": "application/xml"},
    b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
)


class S3Place(RemotePlace):
    """A bucket of its own.

    Args:
        proxy: Through which the service reaches the server.
        client: Of the server itself; it does what others do, and looks at everything.
        user: Whose keys the service has.
    """

    def __init__(self, proxy: HttpProxy, client: "S3Client", user: S3Server) -> None:
        self._proxy, self._client, self._user = proxy, client, user
        self._bucket = f"test-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=self._bucket)
        self.secrets = (user.secret_key,)

    def reading(self) -> dict[str, Any]:
        bucket = {**self._access(), "bucket": self._bucket}
        return {"buckets": {"models": {**bucket, "prefix": MODELS}, self._bucket: bucket}}

    def writing(self) -> dict[str, Any]:
        return {"kind": "s3", **self._access(), "bucket": self._bucket, "prefix": OUTPUTS, "part_bytes": PART_BYTES}

    def credentials(self) -> dict[str, Any]:
        return {"s3-keys": {"access_key_id": self._user.access_key, "secret_access_key": self._user.secret_key}}

    def put(self, name: str, folder: Path) -> str:
        for path in folder.rglob("*"):
            if path.is_file():
                self._put(f"{MODELS}/{name}/{path.relative_to(folder)}", path.read_bytes())
        return f"s3://models/{name}"

    def replace(self, name: str, file: str, content: bytes) -> None:
        self._put(f"{MODELS}/{name}/{file}", content)

    def visible(self) -> dict[str, bytes]:
        keys = [key for key in self._keys() if not key.startswith(STAGING)]
        return {
            key: self._client.get_object(Bucket=self._bucket, Key=f"{OUTPUTS}/{key}")["Body"].read() for key in keys
        }

    def staged(self) -> set[str]:
        uploads = self._client.list_multipart_uploads(Bucket=self._bucket).get("Uploads", [])
        return {key for key in self._keys() if key.startswith(STAGING)} | {upload["Key"] for upload in uploads}

    def put_output(self, name: str, files: Mapping[str, bytes]) -> None:
        for file, content in files.items():
            self._put(f"{OUTPUTS}/{name}/{file}", content)

    def as_source(self, uri: str) -> str:
        return uri

    def fail(
        self,
        action: Action,
        at: Moment,
        *,
        output: str = "",
        file: str = ".safetensors",
        skip: int = 0,
        times: int | None = 1,
    ) -> None:
        method, path = {
            "list": ("GET", "list-type=2"),
            "list below": ("GET", "list-type=2"),
            "read": ("GET", file),
            "send": ("PUT", f"{file}?"),
            "send small": ("PUT", f"{file}/"),
            "publish": ("PUT", f"{OUTPUTS}/{output}/lineage.json"),
        }[at]
        if isinstance(action, ShortAnswer):  # a store cannot announce less than the object's range has
            action = Disconnect(after_bytes=action.size_bytes)
        self._proxy.fail(action, method=method, path_contains=path, skip=skip, times=times)

    @property
    def faults_left(self) -> int:
        return self._proxy.faults.left

    def heal(self) -> None:
        self._proxy.faults.clear()

    def revoke(self) -> None:
        self._proxy.fail(EXPIRED, times=None)

    def read_bytes(self, name: str) -> Counter[str]:
        folder = f"/{self._bucket}/{MODELS}/{name}/"
        found = self._proxy.traffic.bytes_read.items()
        return Counter(
            {
                path.removeprefix(folder): count
                for (how, path), count in found
                if how == "GET" and path.startswith(folder)
            }
        )

    def asked(self) -> list[str]:
        return [passed.path for passed in self._proxy.traffic.requests]

    def _access(self) -> dict[str, Any]:
        return {"endpoint_url": self._proxy.url, "path_style": True, "credential": "s3-keys"}

    def _put(self, key: str, content: bytes) -> None:
        # The checksum that AWS keeps of every object; moto keeps one where it is told it.
        self._client.put_object(Bucket=self._bucket, Key=key, Body=content, ChecksumAlgorithm="CRC32C")

    def _keys(self) -> list[str]:
        found = self._client.list_objects_v2(Bucket=self._bucket, Prefix=f"{OUTPUTS}/").get("Contents", [])
        return [entry["Key"].removeprefix(f"{OUTPUTS}/") for entry in found]


@contextlib.contextmanager
def s3_place(server: S3Server, client: "S3Client", *, user: S3Server | None = None) -> Iterator[S3Place]:
    """Make an empty bucket, and a proxy before its server."""
    with HttpProxy(server.endpoint_url) as proxy:
        yield S3Place(proxy, client, user or server)
