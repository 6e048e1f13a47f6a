"""The migrations: from nothing to the newest revision, once, safely, and equal to the tables in code."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, text

from crossfade_core.errors import StoreUnavailable
from crossfade_core.job import JobId
from crossfade_stores.job_store import SqlJobStore
from crossfade_stores.schema import CONNECTION, expected_revision, stored_revision, upgrade
from crossfade_stores.table_base import Base
from tests.fakes.clock import FakeClock

OpenEngine = Callable[[str], Engine]


FIRST_JOB = """
    INSERT INTO jobs (id, state, phase, spec, spec_digest, created_at, updated_at, last_sequence)
    VALUES ('job-1', 'SUCCEEDED', 'done', :spec, 'sha256:1', '2026-01-01', '2026-01-01', 1)
"""
FIRST_OUTPUT = """
    INSERT INTO outputs (job_id, position, lam, name, state, uri, files)
    VALUES ('job-1', 0, 0.5, 'm-0.5', 'PUBLISHED', 'file:///m-0.5', '{}')
"""


def upgrade_to(revision: str, engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "crossfade_stores:migrations")
    with engine.begin() as connection:
        config.attributes[CONNECTION] = connection
        command.upgrade(config, revision)


def migrate(url: str | None) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if key != "CROSSFADE_DATABASE_URL"}
    if url is not None:
        environment["CROSSFADE_DATABASE_URL"] = url
    arguments = [sys.executable, "-m", "crossfade_stores.migrate"]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def refusal_of_migrate(url: str | None) -> str:
    process = migrate(url)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "Traceback" not in err
    return err


def test_the_migrations_make_exactly_the_tables_in_code(engine: Engine):
    with engine.connect() as connection:
        differences = compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True}),
            Base.metadata,
        )
    assert differences == []


def test_an_empty_database_is_brought_to_the_newest_revision(database_url: str, open_engine: OpenEngine):
    engine = open_engine(database_url)
    with engine.connect() as connection:
        assert stored_revision(connection) is None
    assert upgrade(engine) == expected_revision()
    with engine.connect() as connection:
        assert stored_revision(connection) == expected_revision()


def test_migrating_again_keeps_what_is_stored(engine: Engine, store: SqlJobStore, spec):
    job = store.create_job(spec)
    upgrade(engine)
    assert store.get_job(job.id) == job


def test_a_database_of_the_first_release_keeps_its_outputs(database_url: str, open_engine: OpenEngine, spec):
    engine = open_engine(database_url)
    upgrade_to("0001", engine)
    with engine.begin() as connection:
        connection.execute(text(FIRST_JOB), {"spec": spec.model_dump_json()})
        connection.execute(text(FIRST_OUTPUT))
    upgrade(engine)
    (output,) = SqlJobStore(engine, FakeClock()).list_outputs(JobId("job-1"))
    assert (output.name, output.uri, output.statistics) == ("m-0.5", "file:///m-0.5", None)


def test_a_migration_that_fails_leaves_nothing_behind(database_url: str, open_engine: OpenEngine):
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE events (x INTEGER)"))  # the last table: the first three must go again
    with pytest.raises(Exception, match="events"):
        upgrade(engine)
    with engine.begin() as connection:
        assert stored_revision(connection) is None
        connection.execute(text("DROP TABLE events"))
    assert upgrade(engine) == expected_revision()


def test_processes_that_migrate_at_once_all_succeed(database_url: str, open_engine: OpenEngine):
    processes = [migrate(database_url) for _ in range(4)]
    results = [(*process.communicate(timeout=120), process.returncode) for process in processes]
    assert results == [(f"schema at revision {expected_revision()}\n", "", 0)] * 4
    SqlJobStore(open_engine(database_url), FakeClock()).ping()


def test_migrate_without_a_url_says_which_variable_to_set():
    assert "CROSSFADE_DATABASE_URL is not set; set it to" in refusal_of_migrate(None)


def test_migrate_of_an_unknown_kind_of_database_names_the_known_ones():
    assert "known are sqlite:// and postgresql://" in refusal_of_migrate("mysql://user:hush@host/db")


def test_migrate_of_an_unreachable_server_says_so_and_hides_the_password(tmp_path: Path):
    error = refusal_of_migrate(f"postgresql://user:hush@/db?host={tmp_path}")
    assert "cannot migrate postgresql+psycopg://user:***@/db" in error
    assert "hush" not in error


def test_migrate_into_a_missing_folder_says_so(tmp_path: Path):
    assert "unable to open database file" in refusal_of_migrate(f"sqlite:///{tmp_path}/missing/crossfade.db")


def test_migrate_of_a_file_that_is_no_database_says_so(tmp_path: Path):
    file = tmp_path / "notes.txt"
    file.write_bytes(b"these are my notes " * 100)
    assert "file is not a database" in refusal_of_migrate(f"sqlite:///{file}")


def test_ping_accepts_the_newest_revision(store: SqlJobStore):
    store.ping()


def test_ping_tells_a_schema_of_another_revision(engine: Engine, store: SqlJobStore):
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreUnavailable, match="at revision 9999, this code expects"):
        store.ping()


def test_ping_tells_a_database_without_schema(database_url: str, open_engine: OpenEngine):
    with pytest.raises(StoreUnavailable, match=r"at revision None.*crossfade_stores\.migrate"):
        SqlJobStore(open_engine(database_url), FakeClock()).ping()
