"""API keys on SQL: each by its digest. A secret leaves here once, when its key is made."""

import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Engine, bindparam, select
from sqlalchemy.exc import IntegrityError

from crossfade_core.audit import Act, Action
from crossfade_core.errors import KeyNameTaken, KeyNotFound
from crossfade_core.key_store import NewKey
from crossfade_core.keys import RESERVED_NAMES, ApiKey, key_id_of, new_secret, secret_digest
from crossfade_core.ports import Clock
from crossfade_stores.access_tables import KeyRow
from crossfade_stores.audit_log import note_act
from crossfade_stores.transactions import StoreSide, Transactions
from crossfade_stores.webhook_store import disable
from crossfade_stores.webhook_tables import WebhookRow

_KEY: Final = select(KeyRow).where(KeyRow.id == bindparam("id"))
"""Made once: every request asks it, and to put a query together takes as long as to run it."""


class SqlKeyStore(StoreSide):
    """The key store on SQLite or PostgreSQL; see `crossfade_core.key_store.KeyStore` for what each method promises."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        super().__init__(Transactions(engine), clock)

    def create_key(self, new: NewKey, by: str) -> tuple[ApiKey, str]:
        """Store a key and return it with its secret.

        Raises:
            KeyNameTaken: The name is another key's, also a revoked one's, or the service's own.
        """
        key_id, secret = new_secret()
        row = KeyRow(
            id=key_id,
            name=new.name,
            digest=secret_digest(secret),
            scopes=sorted(new.scopes),
            max_jobs=new.max_jobs,
            requests_per_minute=new.requests_per_minute,
            created_at=self._clock.now(),
            expires_at=new.expires_at,
            revoked_at=None,
        )
        taken = KeyNameTaken(f"the name {new.name!r} is taken; names are not used again, choose another", name=new.name)
        if new.name in RESERVED_NAMES:
            raise taken
        try:
            with self._transactions.write() as session:
                session.add(row)
                session.flush()
                limits = {"max_jobs": new.max_jobs, "requests_per_minute": new.requests_per_minute}
                told = {"scopes": row.scopes, **limits, "expires_at": _time(new.expires_at)}
                note_act(session, Act(by, Action.KEY_CREATED, new.name, told), row.created_at)
                return row.as_key(), secret
        except IntegrityError:
            raise taken from None

    def find_key(self, secret: str) -> ApiKey | None:
        """Return the key of a secret if it is active."""
        key_id = key_id_of(secret)
        if key_id is None:
            return None
        with self._transactions.rows() as connection:
            row = connection.execute(_KEY, {"id": key_id}).one_or_none()
            if row is None or not hmac.compare_digest(row.digest, secret_digest(secret)):
                return None
            key = KeyRow.as_key(row)
        return key if key.is_active(self._clock.now()) else None

    def list_keys(self) -> Sequence[ApiKey]:
        """Return all keys by name, revoked and expired ones too."""
        with self._transactions.rows() as connection:
            return [KeyRow.as_key(row) for row in connection.execute(select(KeyRow).order_by(KeyRow.name))]

    def revoke_key(self, name: str, by: str) -> ApiKey:
        """Revoke a key for good, and send its webhooks nothing more; one that is revoked keeps the time it was.

        Raises:
            KeyNotFound: There is no such key.
        """
        with self._transactions.write() as session:
            row = session.scalar(select(KeyRow).where(KeyRow.name == name).with_for_update())
            if row is None:
                raise KeyNotFound(f"there is no key {name!r}; GET /v1/keys lists those there are", name=name)
            if row.revoked_at is None:
                row.revoked_at = now = self._clock.now()
                disable(session, list(session.scalars(select(WebhookRow.id).where(WebhookRow.owner == name))), now)
                note_act(session, Act(by, Action.KEY_REVOKED, name), now)
            return row.as_key()


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
