"""A model in a bucket behind a proxy, and how to open and read it."""

import contextlib
import itertools
import random
import time
from dataclasses import dataclass

from types_boto3_s3 import S3Client

from crossfade_registries.retrying import Patience
from crossfade_registries.s3.source import S3Source
from tests.fakes.http_proxy import HttpProxy

SHARD = "model.safetensors"
CONTENT = random.Random(1).randbytes(2_000_003)
"""Of the shard."""
LARGE = random.Random(2).randbytes(20_000_003)
"""Of a shard that is a little over two blocks of the read-ahead."""
CONFIG = b'{"model_type": "llama"}'
URI = "s3://models/llama"
QUICK = Patience(attempts=4, first_wait_seconds=0.01, longest_wait_seconds=0.05, total_seconds=20)


@dataclass(frozen=True)
class Model:
    """A bucket with one model below `llama`; `proxy` stands between the store and `client`, `direct` goes past it."""

    proxy: HttpProxy
    client: S3Client
    direct: S3Client
    bucket: str

    def put(self, file: str, content: bytes, **options: str) -> None:
        """Put an object, past the proxy."""
        self.direct.put_object(Bucket=self.bucket, Key=f"llama/{file}", Body=content, **options)

    def opened(self, prefix: str = "llama", patience: Patience = QUICK) -> contextlib.closing[S3Source]:
        """Open the model for the length of a block."""
        return contextlib.closing(S3Source(self.client, self.bucket, prefix, URI, patience=patience))

    def ranges(self, file: str = SHARD) -> list[str | None]:
        """Return the ranges that were asked for, in the order of the requests."""
        passed = self.proxy.traffic.requests
        return [each.range for each in passed if each.method == "GET" and each.path.endswith(f"/llama/{file}")]

    def sent_bytes(self, file: str = SHARD) -> int:
        """Return how many bytes of a file passed, once it no longer changes: the proxy counts when it has sent."""
        before = -1
        while before != (now := self._sent(file)):
            before = now
            time.sleep(0.02)
        return now

    def _sent(self, file: str) -> int:
        passed = self.proxy.traffic.bytes_read.items()
        return sum(count for (method, path), count in passed if method == "GET" and path.endswith(f"/llama/{file}"))


def read(source: S3Source, file: str = SHARD, start: int = 0, end: int | None = None) -> bytes:
    """Return bytes `start` to `end`, or all that follow."""
    content = bytearray((source.files()[file].size_bytes if end is None else end) - start)
    source.read_into(file, start, memoryview(content))
    return bytes(content)


def read_through(source: S3Source, piece_bytes: int = 1 << 20) -> bytes:
    """Return the shard as a pass reads it: a header, then the rest, which was expected, piece by piece."""
    header_bytes, size_bytes = 5_000, source.files()[SHARD].size_bytes
    source.expect([(SHARD, header_bytes, size_bytes)])
    edges = [0, *range(header_bytes, size_bytes, piece_bytes), size_bytes]
    return b"".join(read(source, SHARD, start, end) for start, end in itertools.pairwise(edges))
