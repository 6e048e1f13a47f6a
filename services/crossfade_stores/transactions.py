"""Begin and end the store's transactions, and turn the database's absence into StoreUnavailable, once.

A fault of ours (a violated constraint, a wrong statement) is let through as it is: it is a bug, not an absence.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from crossfade_core.errors import StoreUnavailable
from crossfade_core.ports import Clock
from crossfade_stores.engine import READ_ONLY

_UNDEFINED_TABLE = "42P01"  # postgresql.org, appendix A; SQLite reports a missing table as an OperationalError


class Transactions:
    """Transactions on one database. Safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = engine.execution_options(**{READ_ONLY: True})
        # One statement and its answer, instead of three that also begin and end a transaction.
        is_postgres = engine.dialect.name == "postgresql"
        self._asking = engine.execution_options(isolation_level="AUTOCOMMIT") if is_postgres else self._reading

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a transaction that only reads.

        Raises:
            StoreUnavailable: The database cannot be reached, is locked for too long, or has no tables.
        """
        with self._wrapped(), Session(self._reading) as session, session.begin():
            yield session

    @contextmanager
    def rows(self) -> Iterator[Connection]:
        """Lend a connection for reading plain rows: without a session it takes half the time.

        On PostgreSQL each statement sees what was committed before it, as in any transaction of ours.

        Raises:
            StoreUnavailable: As for `read`.
        """
        with self._wrapped(), self._asking.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a transaction that commits at the end, or rolls back when an error leaves it.

        Raises:
            StoreUnavailable: As for `read`.
        """
        with self._wrapped(), Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def _wrapped(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeout) as error:
            if not _is_absence(error):
                raise
            cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            where = self._engine.url.render_as_string(hide_password=True)
            raise StoreUnavailable(
                f"the database {where} did not answer: {cause}; check that it runs and that its schema is there "
                "(python -m crossfade_stores.migrate)"
            ) from error


class StoreSide:
    """One side of the job store: what the sides share is the transactions and the clock."""

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock


def lock_name(session: Session, name: str) -> None:
    """Let others who ask for the same name wait until this transaction ends; on SQLite a writer is alone anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def _is_absence(error: DBAPIError | PoolTimeout) -> bool:
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout) or error.connection_invalidated:
        return True
    return getattr(error.orig, "sqlstate", None) == _UNDEFINED_TABLE
