"""A fresh deployment for each test, on a copy of one migrated database."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade_stores.engine import create_store_engine
from crossfade_stores.schema import upgrade
from tests.worker.deployment import Deployment


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema and no rows."""
    file = tmp_path_factory.mktemp("database") / "empty.db"
    engine = create_store_engine(f"sqlite:///{file}")
    upgrade(engine)
    engine.dispose()
    return file


@pytest.fixture
def deployment(tmp_path: Path, empty_database: Path) -> Iterator[Deployment]:
    """A service at rest."""
    engine = create_store_engine(f"sqlite:///{shutil.copy(empty_database, tmp_path / 'crossfade.db')}")
    deployment = Deployment(tmp_path, engine)
    yield deployment
    engine.dispose()
    assert deployment.broken_claims == []
