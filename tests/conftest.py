"""Servers for whichever test asks: started at most once a run, with an empty database for each test."""

from collections.abc import Iterator

import pytest

from tests.servers import Postgres, RedisServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A running PostgreSQL; `new_database()` gives wider-scoped fixtures a database of their own."""
    with Postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of this test's own."""
    url = postgres_server.new_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A running Redis."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The broker URL of an empty Redis."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server.url
