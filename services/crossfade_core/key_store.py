"""The store of API keys as a port."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from crossfade_core.keys import ApiKey, Scope


@dataclass(frozen=True)
class NewKey:
    """A key as it is asked for."""

    name: str
    scopes: frozenset[Scope]
    max_jobs: int | None = None
    requests_per_minute: int | None = None
    expires_at: datetime | None = None


class KeyStore(Protocol):
    """The API keys. All methods raise StoreUnavailable when the database is away."""

    def create_key(self, new: NewKey, by: str) -> tuple[ApiKey, str]:
        """Store a key that `by` makes, and return it with its secret, which is nowhere else.

        Raises:
            KeyNameTaken: The name is another key's, also a revoked one's, or the service's own.
        """

    def find_key(self, secret: str) -> ApiKey | None:
        """Return the key of a secret; None where it opens nothing (unknown, expired, revoked)."""

    def list_keys(self) -> Sequence[ApiKey]:
        """Return all keys by name, revoked and expired ones too."""

    def revoke_key(self, name: str, by: str) -> ApiKey:
        """Revoke a key for good; its jobs stay, its webhooks are disabled.

        Raises:
            KeyNotFound: There is no such key.
        """
