"""Servers for whichever test asks: started at most once a run, with an empty database for each test.

Hypothesis measures no time, for the machine may be busy with anything, and finds the same examples each time; to look
for others: pytest --hypothesis-profile exploring.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import Postgres, RedisServer

settings.register_profile(
    "crossfade", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, print_blob=True
)
settings.register_profile("exploring", settings.get_profile("crossfade"), derandomize=False)
settings.load_profile("crossfade")

SLOW_FILES = ("s3_sink/test_faults.py", "s3_sink/test_overwriting.py", "s3_sink/test_races.py", "test_second_run.py")
"""Every request of a commit fails once, or several processes race: hundreds of requests a test."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what takes minutes in all, and what runs on Swift, whose every request passes four processes."""
    for item in items:
        path = item.nodeid.partition("::")[0]
        if path.endswith(SLOW_FILES) or ("swift" in item.nodeid and "test_s3_servers" not in path):
            item.add_marker(pytest.mark.slow)


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
