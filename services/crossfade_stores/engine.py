"""Open the database named by a URL, SQLite or PostgreSQL, with the settings the store's promises rest on.

Nothing connects here: the first query does. An engine belongs to one process; after a fork, make a new one.
"""

import functools
import math
import sqlite3
import time
from typing import Any, Final

from sqlalchemy import URL, Connection, Dialect, Engine, PoolProxiedConnection, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_SECONDS: Final = 30
"""How long an SQLite write waits for another process's write."""

POOL_WAIT_SECONDS: Final = 10
"""How long a call waits for a free connection of this process."""

POOL_SIZE: Final = 15
"""Most connections of a process. All are kept: to open one takes PostgreSQL longer than most queries."""

READ_ONLY: Final = "crossfade_read_only"
"""Execution option of connections that only read: on SQLite they wait for no writer."""

_OPTIONS: Final[dict[str, Any]] = {
    "pool_size": POOL_SIZE,
    "max_overflow": 0,
    "pool_timeout": POOL_WAIT_SECONDS,
}
_BUSY_STEP_SECONDS: Final = 0.01
_RETURNED: Final = "crossfade_returned"
_RESTED_SECONDS: Final = 1.0
_POSTGRES_DEFAULTS: Final = {"connect_timeout": "5", "keepalives_idle": "30", "tcp_user_timeout": "30000"}
# Seconds, seconds, milliseconds (libpq). Without them a vanished host holds a call for the kernel's quarter of an hour.


def create_store_engine(url: str) -> Engine:
    """Return an engine for `url`, not yet connected.

    Args:
        url: `sqlite:////abs/file.db` or `postgresql://user:pw@host/db`; libpq options may follow as `?key=value`.

    Raises:
        ValueError: The URL is malformed, of another kind of database, or SQLite without a file. Never shows a password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError("the database URL cannot be read; write sqlite:////abs/file.db or postgresql://…") from None
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return _postgres_engine(parsed)
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return _sqlite_engine(parsed)
    raise ValueError(f"the database URL begins {parsed.drivername}://; known are sqlite:// and postgresql://")


def _postgres_engine(url: URL) -> Engine:
    defaults = {key: value for key, value in _POSTGRES_DEFAULTS.items() if key not in url.query}
    engine = create_engine(
        url.set(drivername="postgresql+psycopg").update_query_dict(defaults),
        # Row locks are taken first and read after: each statement must see what was committed before it.
        isolation_level="READ COMMITTED",
        **_OPTIONS,
    )
    event.listen(engine, "checkin", _note_return)
    event.listen(engine, "checkout", functools.partial(_look_after_rest, engine.dialect))
    return engine


def _note_return(connection: object, record: ConnectionPoolEntry) -> None:
    record.info[_RETURNED] = time.monotonic()


def _look_after_rest(
    dialect: Dialect, connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection
) -> None:
    """See that a connection that rested still leads somewhere; if not, the pool takes another.

    SQLAlchemy's own `pool_pre_ping` asks before every use: of a request of five statements, five questions more.
    """
    if time.monotonic() - record.info.get(_RETURNED, math.inf) > _RESTED_SECONDS:
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise DisconnectionError("the connection ended while it rested") from error


def _sqlite_engine(url: URL) -> Engine:
    if url.database in (None, "", ":memory:"):
        raise ValueError("SQLite needs a file that API and workers share; write sqlite:////abs/file.db")
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **_OPTIONS)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: object) -> None:  # noqa: ANN401  (SQLAlchemy hands out the driver's own)
    # The driver must not begin transactions by itself: it would begin them as readers (docs.python.org, sqlite3).
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    _write_ahead(connection)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Let readers and the one writer not wait for each other (sqlite.org/wal.html).

    To whoever would convert a file that another is about to write, SQLite says "busy" at once, whatever the timeout.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_BUSY_STEP_SECONDS)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A reader that turns writer fails at once when another wrote in between, whatever the busy timeout
    # (sqlite.org/lang_transaction.html): a transaction that may write takes the write lock first.
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
