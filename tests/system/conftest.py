"""One service for the tests that only look; tests that break things start their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.serving import PAIR, Service, serving


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder for broken and made-up checkpoints."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Service]:
    """A running service with the roots `demo` and `models` and the destination `outputs`."""
    folder = tmp_path_factory.mktemp("service")
    with serving(folder, {"demo": PAIR, "models": models}) as running:
        yield running
