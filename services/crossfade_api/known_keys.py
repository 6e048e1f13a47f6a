"""Remember keys for a second: a caller that asks often does not have the database asked each time."""

import threading
import time
from collections.abc import Sequence
from typing import Final

from crossfade_core.key_store import KeyStore, NewKey
from crossfade_core.keys import ApiKey, secret_digest
from crossfade_core.ports import Clock

REMEMBERED_SECONDS: Final = 1.0
"""How long a key that another process revoked may still open something here."""
_MOST: Final = 10_000


class KnownKeys:
    """A key store that remembers what it found; by digests, so that no secret stays in memory for it.

    Args:
        store: Who knows them all.
        clock: The time, for keys that expire meanwhile.
    """

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._found: dict[str, tuple[float, ApiKey]] = {}
        self._lock = threading.Lock()
        self._revocations = 0

    def remembered(self, secret: str) -> ApiKey | None:
        """Return the key of a secret if it was found within the last second; never asks the database."""
        with self._lock:
            found_at, key = self._found.get(secret_digest(secret), (0.0, None))
        is_fresh = key is not None and time.monotonic() - found_at < REMEMBERED_SECONDS
        return key if is_fresh and key is not None and key.is_active(self._clock.now()) else None

    def find_key(self, secret: str) -> ApiKey | None:
        """Return the key of a secret if it is active, as the database has it."""
        revocations, asked_at = self._revocations, time.monotonic()
        key = self._store.find_key(secret)
        if key is not None:
            with self._lock:
                if revocations == self._revocations:  # else it may have been read before it was revoked
                    if len(self._found) >= _MOST:
                        self._found.clear()
                    self._found[secret_digest(secret)] = asked_at, key
        return key

    def create_key(self, new: NewKey, by: str) -> tuple[ApiKey, str]:
        """Store a key; see `KeyStore`."""
        return self._store.create_key(new, by)

    def list_keys(self) -> Sequence[ApiKey]:
        """Return all keys; see `KeyStore`."""
        return self._store.list_keys()

    def revoke_key(self, name: str, by: str) -> ApiKey:
        """Revoke a key and remember none of those known; see `KeyStore`."""
        key = self._store.revoke_key(name, by)
        with self._lock:
            self._revocations += 1
            self._found.clear()
        return key
