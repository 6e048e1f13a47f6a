"""JSON encoded in one way only, and its digest."""

import hashlib
import json


def canonical_json(value: object) -> bytes:
    """Encode JSON in one way only: keys sorted, no spaces, UTF-8, Python's shortest floats, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def json_digest(value: object) -> str:
    """Return `sha256:<hex>` over the canonical JSON of a value."""
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()
