"""The version of the database's schema: what it is, what this code expects, and how to get from one to the other."""

from functools import cache
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, select

CONNECTION: Final = "connection"
"""Name under which `upgrade` hands its connection to migrations/env.py."""

_LOCK_KEY: Final = 0x63726F7373666164  # "crossfad": one number that nobody else's migrations use


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "crossfade_stores:migrations")
    return config


@cache
def expected_revision() -> str:
    """Return the newest revision that this code carries."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "the migrations folder is part of the package"  # noqa: S101  (an invariant of the wheel)
    return head


def stored_revision(connection: Connection) -> str | None:
    """Return the revision the database is at, None where nothing was ever set up."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: Engine) -> str:
    """Bring the schema to the newest revision, in one transaction, and return that revision.

    Several processes may do so at once: one works, the others wait and find nothing left to do. SQLite's write lock
    sees to that; on PostgreSQL an advisory lock does.
    """
    config = _config()
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK_KEY)))
        config.attributes[CONNECTION] = connection
        command.upgrade(config, "head")
    return expected_revision()
