"""The checksums that a store verifies uploads by, and whether what it answers confirms them.

CRC64NVME of an object follows from those of its parts, and the store states it of the whole object; MD5 shows in ETags,
for several parts as the MD5 of the parts' MD5s. A store that says neither has confirmed nothing.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, Protocol

from awscrt import checksums  # type: ignore[import-untyped]

ChecksumName = Literal["crc64nvme", "md5"]
Answer = Mapping[str, Any]
"""What the store answered to a request: the fields of its headers and body."""

_MD5_ETAG: Final = re.compile(r'"?([0-9a-f]{32}(?:-[0-9]+)?)"?')


class Checksum(Protocol):
    """One way of verifying. A `value` is what the store states of a part or an object, as text."""

    name: ClassVar[ChecksumName]
    to_begin: ClassVar[Mapping[str, str]]
    """What the request that begins an upload must say."""

    def value(self, content: memoryview) -> str:
        """Return the value of a body."""

    def whole(self, parts: Sequence[tuple[str, int]]) -> str:
        """Return the value of an object uploaded in parts of these values and sizes."""

    def to_send(self, value: str) -> Mapping[str, str]:
        """Return what a request with a body of that value must say."""

    def to_complete(self, whole: str) -> Mapping[str, str]:
        """Return what the request that completes an upload must say."""

    def stated(self, answer: Answer) -> str | None:
        """Return the value that the store states, None where it states none."""


class Crc64Nvme:
    """CRC64NVME of the whole object: base64 of the big-endian number."""

    name: ClassVar[ChecksumName] = "crc64nvme"
    to_begin: ClassVar[Mapping[str, str]] = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}

    def value(self, content: memoryview) -> str:
        """Return the CRC of a body."""
        return _text(checksums.crc64nvme(content))

    def whole(self, parts: Sequence[tuple[str, int]]) -> str:
        """Return the CRC that the parts' CRCs combine to."""
        crc = 0
        for value, size_bytes in parts:
            crc = checksums.combine_crc64nvme(crc, int.from_bytes(base64.b64decode(value), "big"), size_bytes)
        return _text(crc)

    def to_send(self, value: str) -> Mapping[str, str]:
        """Return the CRC as a header of its own."""
        return {"ChecksumCRC64NVME": value}

    def to_complete(self, whole: str) -> Mapping[str, str]:
        """Return the CRC, and that it is not one of the parts' CRCs."""
        return {"ChecksumCRC64NVME": whole, "ChecksumType": "FULL_OBJECT"}

    def stated(self, answer: Answer) -> str | None:
        """Return the CRC that the store answers with."""
        is_whole = answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        return answer.get("ChecksumCRC64NVME") if is_whole else None


class Md5:
    """MD5 in hex, as ETags have it; with `-N` for an object of N parts."""

    name: ClassVar[ChecksumName] = "md5"
    to_begin: ClassVar[Mapping[str, str]] = {}

    def value(self, content: memoryview) -> str:
        """Return the MD5 of a body."""
        return hashlib.md5(content, usedforsecurity=False).hexdigest()

    def whole(self, parts: Sequence[tuple[str, int]]) -> str:
        """Return the MD5 of the parts' MD5s, and how many they are."""
        digests = b"".join(bytes.fromhex(value) for value, _ in parts)
        return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"

    def to_send(self, value: str) -> Mapping[str, str]:
        """Return the MD5 as the header Content-MD5."""
        return {"ContentMD5": base64.b64encode(bytes.fromhex(value)).decode()}

    def to_complete(self, whole: str) -> Mapping[str, str]:
        """Return nothing: the parts' ETags, which every completion names, say it."""
        return {}

    def stated(self, answer: Answer) -> str | None:
        """Return the ETag, where it looks like an MD5."""
        found = _MD5_ETAG.fullmatch(str(answer.get("ETag", "")))
        return found[1] if found is not None else None


CHECKSUMS: Final[Mapping[ChecksumName, Checksum]] = {"crc64nvme": Crc64Nvme(), "md5": Md5()}


def _text(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(8, "big")).decode()
