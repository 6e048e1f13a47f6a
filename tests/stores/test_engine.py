"""Which URLs are taken, how SQLite is set up, and what the store says when its database is away."""

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, text
from sqlalchemy.exc import DatabaseError, IntegrityError

from crossfade_core.errors import StoreUnavailable
from crossfade_core.job import JobId
from crossfade_stores.engine import create_store_engine
from crossfade_stores.job_store import SqlJobStore
from crossfade_stores.job_tables import EventRow
from crossfade_stores.schema import upgrade
from tests.fakes.clock import FakeClock
from tests.servers import Postgres

OpenEngine = Callable[[str], Engine]


def cut_who_waits(engine: Engine) -> None:
    cut = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    deadline = time.monotonic() + 60
    while True:
        with engine.begin() as connection:  # a new transaction each time: PostgreSQL shows one picture per transaction
            if connection.execute(cut).all():
                return
        assert time.monotonic() < deadline, "nobody came to wait for the lock"
        time.sleep(0.01)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_a_postgresql_url_uses_psycopg(open_engine: OpenEngine, scheme):
    url = open_engine(f"{scheme}://user:pw@host/db?connect_timeout=9").url
    assert url.drivername == "postgresql+psycopg"
    assert url.query["connect_timeout"] == "9"
    assert url.query["tcp_user_timeout"] == "30000"


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://u:hush@h/db", "postgresql+asyncpg://u:hush@h/db", "hush", ""]
)
def test_a_url_the_store_cannot_serve_is_refused_without_showing_its_password(url):
    with pytest.raises(ValueError, match=r"sqlite:////|postgresql://") as caught:
        create_store_engine(url)
    assert "hush" not in str(caught.value)


def test_sqlite_is_durable_checks_references_and_lets_readers_read(tmp_path: Path, open_engine: OpenEngine):
    with open_engine(f"sqlite:///{tmp_path}/crossfade.db").connect() as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "foreign_keys")
        }
        assert pragmas == {"journal_mode": "wal", "foreign_keys": 1}
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 30_000


def test_sqlite_file_that_another_process_is_about_to_write_is_waited_for(tmp_path: Path, open_engine: OpenEngine):
    file = tmp_path / "crossfade.db"
    with ThreadPoolExecutor(1) as pool, closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        opening = pool.submit(lambda: open_engine(f"sqlite:///{file}").connect().close())
        with pytest.raises(TimeoutError):
            opening.result(0.5)
        other.execute("COMMIT")
        opening.result(60)
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_reference_to_nothing_is_a_bug_and_not_an_absence(engine: Engine, clock: FakeClock):
    orphan = insert(EventRow).values(job_id=JobId("job-0"), sequence=1, type="x", data={}, created_at=clock.now())
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(orphan)


def test_a_database_without_tables_is_unavailable(database_url: str, open_engine: OpenEngine, spec):
    store = SqlJobStore(open_engine(database_url), FakeClock())
    with pytest.raises(StoreUnavailable, match=r"crossfade_stores\.migrate"):
        store.create_job(spec)
    with pytest.raises(StoreUnavailable):
        store.list_jobs()


def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path, open_engine: OpenEngine, spec):
    for url in (f"sqlite:///{tmp_path}/missing/x.db", f"postgresql://user:hush@/db?host={tmp_path}"):
        store = SqlJobStore(open_engine(url), FakeClock())
        for call in (store.ping, store.list_jobs, lambda store=store: store.create_job(spec)):
            with pytest.raises(StoreUnavailable) as caught:
                call()
            assert "hush" not in str(caught.value)
            assert caught.value.__cause__ is not None


def test_a_file_that_is_no_database_is_refused_and_not_overwritten(tmp_path: Path, open_engine: OpenEngine):
    file = tmp_path / "notes.txt"
    file.write_bytes(b"these are my notes " * 100)
    with pytest.raises(DatabaseError, match="not a database"), open_engine(f"sqlite:///{file}").connect():
        pass
    assert file.read_bytes() == b"these are my notes " * 100


def test_the_store_recovers_from_cut_connections(
    postgres_server: Postgres, postgres_url: str, open_engine: OpenEngine, spec
):
    store, other = (SqlJobStore(open_engine(postgres_url), FakeClock()) for _ in range(2))
    upgrade(open_engine(postgres_url))
    job = store.create_job(spec)
    cut = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    with open_engine(postgres_url).connect() as connection:
        connection.execute(cut)
    time.sleep(1.1)  # in use a second ago, a connection is not looked at before it is used again
    assert store.get_job(job.id) == job
    assert other.get_job(job.id) == job


def test_of_connections_cut_in_the_midst_of_work_one_call_pays(postgres_url: str, open_engine: OpenEngine, spec):
    store = SqlJobStore(open_engine(postgres_url), FakeClock())
    upgrade(open_engine(postgres_url))
    job = store.create_job(spec)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.get_job(job.id), range(40)))  # several connections
    with open_engine(postgres_url).connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"))
    refused = 0
    for _ in range(10):
        try:
            assert store.get_job(job.id) == job
        except StoreUnavailable:
            refused += 1
    assert refused <= 1


def test_a_store_whose_server_stops_is_unavailable_until_it_is_back(tmp_path: Path, open_engine: OpenEngine, spec):
    with Postgres() as server:
        url = server.new_database()
        upgrade(open_engine(url))
        store = SqlJobStore(open_engine(url), FakeClock())
        job = store.create_job(spec)
        server.stop()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                store.get_job(job.id)
        server.start()
        assert store.get_job(job.id) == job


def test_a_connection_cut_in_the_middle_of_a_transaction_is_an_absence_and_changes_nothing(
    postgres_url: str, open_engine: OpenEngine, spec
):
    upgrade(open_engine(postgres_url))
    store = SqlJobStore(open_engine(postgres_url), FakeClock())
    locker = open_engine(postgres_url)
    with ThreadPoolExecutor(1) as pool, locker.begin() as transaction:
        transaction.execute(text("LOCK TABLE outputs IN ACCESS EXCLUSIVE MODE"))
        creation = pool.submit(store.create_job, spec)
        cut_who_waits(locker)
        with pytest.raises(StoreUnavailable):
            creation.result(timeout=60)
    assert store.list_jobs() == []
