"""Hubs, and a client that waits for nothing and leaves nothing behind."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.utils import close_session, disable_progress_bars

from tests.fakes.hub import Hub
from tests.registries.fake_hub.asking import OpenHub


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The client without Xet, without progress bars, with no files and connections that outlive the test."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    for module in ("utils._http", "file_download"):  # its waits, and nobody else's
        monkeypatch.setattr(f"huggingface_hub.{module}.time", SimpleNamespace(sleep=lambda _: None))
    disable_progress_bars()
    yield
    close_session()


@pytest.fixture
def open_hub(tmp_path: Path) -> Iterator[OpenHub]:
    """Start a Hub that knows alice, who writes to acme, and bob, who does not."""
    hubs: list[Hub] = []

    def start(**options: object) -> Hub:
        hub = Hub(tmp_path / f"hub-{len(hubs)}", **options).__enter__()
        hub.add_token("hf_alice", "alice", write=("alice", "acme"))
        hub.add_token("hf_bob", "bob")
        hubs.append(hub)
        return hub

    yield start
    for hub in hubs:
        hub.__exit__(None, None, None)


@pytest.fixture
def hub(open_hub: OpenHub) -> Hub:
    return open_hub()
