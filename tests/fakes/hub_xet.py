"""The Xet side of the Hub of the tests: CAS folders on disk, which hf_xet itself writes and reads.

For a `casUrl` of `local:///folder`, hf_xet runs a whole CAS in that folder, and no HTTP happens. It locks the folder
for its process as long as its session lives. So each upload is given a folder of its own, and who reads is given a view
of one: hard links, and a copy of its small database.

What a commit names by SHA-256 is looked up in the shards that the client uploaded, as the real Hub does.
Source: https://github.com/huggingface/xet-core (crate `mdb_shard`) for the layout of a shard.
"""

import contextlib
import itertools
import os
import shutil
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.fakes.hub_objects import file_sha256
from tests.fakes.hub_refusal import HubError
from tests.fakes.hub_repos import XetFile

_SHARD_HEADER_BYTES = 48
_RECORD_BYTES = 48
_LAST_FILE = b"\xff" * 32
_HAS_VERIFICATION = 1 << 31
_HAS_METADATA = 1 << 30
_READ_ATTEMPTS = 3
TOKEN_SECONDS = 86_400


class XetStore:
    """CAS folders in a folder.

    Args:
        folder: Where; made where it is missing.
        is_shared: Whether all uploads share one CAS, so that what one has sent the next need not. Only one process
            at a time can upload then.
    """

    def __init__(self, folder: Path, *, is_shared: bool = False) -> None:
        self._folder = folder
        self._is_shared = is_shared
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._known: dict[str, XetFile] = {}
        self._seen_shards: set[Path] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def new_cas(self) -> str:
        """Return the name of the CAS that the next upload goes to."""
        return "cas-shared" if self._is_shared else f"cas-{next(self._numbers)}"

    def url(self, cas: str) -> str:
        """Return the `casUrl` of a CAS."""
        return f"local://{self._folder / cas}"

    def view(self, cas: str) -> str:
        """Return the name of a copy of a CAS that nobody else has open."""
        name = f"view-{next(self._numbers)}"
        for source in (self._folder / cas / "xet" / "xorbs").rglob("*"):
            target = self._folder / name / source.relative_to(self._folder / cas)
            with contextlib.suppress(FileNotFoundError):  # the writer's own temporary files come and go
                if source.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copyfile if source.suffix == ".redb" else os.link)(source, target)
        return name

    def find(self, sha256: str) -> XetFile | None:
        """Return what was uploaded with this digest, or None."""
        with self._lock:
            if sha256 not in self._known:
                for shard in set(self._folder.glob("cas-*/xet/xorbs/shards/*.mdb")) - self._seen_shards:
                    self._seen_shards.add(shard)
                    found = read_shard(shard.read_bytes(), shard.relative_to(self._folder).parts[0])
                    self._known.update((file.sha256, file) for file in found)
            return self._known.get(sha256)

    def upload(self, path: Path) -> XetFile:
        """Upload a file as a client does.

        Raises:
            LookupError: It cannot be found afterwards.
        """
        import hf_xet

        sha256 = file_sha256(path)
        with hf_xet.XetSession().new_upload_commit(**self._connection(self.new_cas())) as commit:
            commit.start_upload_file(str(path), sha256=sha256)
        found = self.find(sha256)
        if found is None:
            raise LookupError(f"hf_xet uploaded {path}, but no shard names {sha256}; its layout may have changed")
        return found

    def download(self, file: XetFile, path: Path) -> None:
        """Write the content of a file.

        Raises:
            HubError: 500, the content is not what the client said it was.
        """
        for _ in range(_READ_ATTEMPTS):  # a view taken while the CAS is written to may be of a torn database
            self._download_once(file, path)
            if path.stat().st_size == file.size:
                break
        found = file_sha256(path)
        if found != file.sha256:
            raise HubError(500, f"Xet file {file.hash} was announced with digest {file.sha256}, it has {found}")

    def _download_once(self, file: XetFile, path: Path) -> None:
        import hf_xet

        view = self.view(file.cas)
        group = hf_xet.XetSession().new_download_stream_group(**self._connection(view))
        with path.open("wb") as stream:
            for block in group.download_stream(hf_xet.XetFileInfo(file.hash, file.size)):
                stream.write(block)
        shutil.rmtree(self._folder / view)

    def _connection(self, cas: str) -> dict[str, object]:
        expiry = int(time.time()) + TOKEN_SECONDS
        return {"endpoint": self.url(cas), "token": "local", "token_expiry_unix_secs": expiry}


def read_shard(shard: bytes, cas: str) -> Iterator[XetFile]:
    """Return the files of a shard that carry a SHA-256.

    Each is a header of 48 bytes, then as many records of 48 bytes as it says, as many again where they are verified,
    and one with the SHA-256.
    """
    position = _SHARD_HEADER_BYTES
    while shard[position : position + 32] not in (_LAST_FILE, b""):
        flags, count = struct.unpack_from("<II", shard, position + 32)
        records = range(position + _RECORD_BYTES, position + _RECORD_BYTES * (count + 1), _RECORD_BYTES)
        size = sum(struct.unpack_from("<I", shard, record + 36)[0] for record in records)
        is_verified, has_metadata = bool(flags & _HAS_VERIFICATION), bool(flags & _HAS_METADATA)
        end = position + _RECORD_BYTES * (1 + count * (1 + is_verified) + has_metadata)
        if has_metadata:
            sha256 = _hash_at(shard, end - _RECORD_BYTES)
            yield XetFile(_hash_at(shard, position), size, sha256, cas)
        position = end


def _hash_at(shard: bytes, position: int) -> str:
    return "".join(f"{word:016x}" for word in struct.unpack_from("<4Q", shard, position))
