"""Who calls the service: API keys by name, what each may do, the form of their secrets. Never keeps a secret."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, NewType, Self

from pydantic import Field

KeyId = NewType("KeyId", str)
KeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,62}$")]

SECRET_BYTES: Final = 32
"""Of chance in a secret. Nobody guesses 256 bits, so a plain SHA-256 keeps it and a slow password hash adds nothing."""
_SECRET = re.compile(r"crossfade_(?P<id>[0-9a-f]{16})_[A-Za-z0-9_-]{43}")


class Scope(StrEnum):
    """What a key may do; `admin` may do everything, also publish to every destination and manage keys."""

    READ = "read"
    SUBMIT = "submit"
    CANCEL = "cancel"
    APPROVE = "approve"
    ADMIN = "admin"


@dataclass(frozen=True)
class ApiKey:
    """A key as it is kept. Times are UTC; without `expires_at` it holds until it is revoked.

    `max_jobs` is how many of its jobs may be unfinished at a time; None for any number. `requests_per_minute` is how
    many requests it may send; None for as many as the server's configuration says.
    """

    id: KeyId
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    max_jobs: int | None = None
    requests_per_minute: int | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_active(self, now: datetime) -> bool:
        """Tell whether it opens anything at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True)
class Caller:
    """Who sent a request: a key by its name, or who needs none."""

    name: str
    scopes: frozenset[Scope]
    requests_per_minute: int | None = None

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """Return the caller that carries a key."""
        return cls(key.name, key.scopes, key.requests_per_minute)

    def may(self, scope: Scope) -> bool:
        """Tell whether the caller has a scope."""
        return scope in self.scopes or self.is_admin

    @property
    def is_admin(self) -> bool:
        """Whether the caller may do everything."""
        return Scope.ADMIN in self.scopes


LOCAL: Final = Caller("local", frozenset({Scope.ADMIN}))
"""Whoever calls a service that listens on loopback and asks for nothing."""
OPERATOR: Final = Caller("operator", frozenset({Scope.ADMIN}))
"""Whoever carries the token of the server's own configuration."""
RESERVED_NAMES: Final = frozenset({LOCAL.name, OPERATOR.name})


def new_secret() -> tuple[KeyId, str]:
    """Return a new key's id and its secret, `crossfade_<id>_<43 URL-safe characters>`; the secret names the id."""
    key_id = KeyId(secrets.token_hex(8))
    return key_id, f"crossfade_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"


def key_id_of(secret: str) -> KeyId | None:
    """Return the id that a secret names, None for text of another form."""
    found = _SECRET.fullmatch(secret)
    return None if found is None else KeyId(found["id"])


def secret_digest(secret: str) -> str:
    """Return the hex SHA-256 under which a secret is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()
