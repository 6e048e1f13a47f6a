"""Ids that sort by age."""

import secrets
from datetime import datetime


def new_id(kind: str, now: datetime) -> str:
    """Return an id that sorts by age: milliseconds since 1970 in 12 hex digits, then 16 random ones."""
    return f"{kind}-{int(now.timestamp() * 1000):012x}{secrets.token_hex(8)}"
