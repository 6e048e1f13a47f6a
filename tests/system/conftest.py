"""One service for the tests that only look; tests that break things start their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports.hub_place import HubPlace, hub_place
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


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubPlace]:
    """A Hub to read from and to publish to; its clients, processes started here, keep nothing in the user's home."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    with hub_place(tmp_path / "hub", xet=False) as place:
        yield place
