"""A Hub to publish to, sinks that do, and a client that waits for nothing."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from tests.fakes.hub import Hub
from tests.registries.hub_sink.publishing import NAMESPACE, TOKEN, OpenSink, open_sink


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The client without Xet, which waits for nothing and leaves no files and connections behind."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: None))
    yield
    close_session()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A Hub of LFS alone."""
    with Hub(tmp_path / "hub") as hub:
        hub.add_token(TOKEN, "publisher", write=[NAMESPACE])
        yield hub


@pytest.fixture(params=["basic", "multipart", "xet"])
def any_hub(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub of each way to send large files."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", request.param != "xet")
    chunk_bytes = 4096 if request.param == "multipart" else None
    xet_dir = tmp_path / "xet" if request.param == "xet" else None
    with Hub(tmp_path / "hub", chunk_bytes=chunk_bytes, xet_dir=xet_dir) as hub:
        hub.add_token(TOKEN, "publisher", write=[NAMESPACE])
        yield hub


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """An empty folder for scratch files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def opened(hub: Hub, scratch: Path) -> OpenSink:
    """Open sinks of the Hub of LFS alone."""
    return partial(open_sink, hub, scratch)
