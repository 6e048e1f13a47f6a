"""Folders to read from and to publish into, and file systems that are full or read-only."""

import contextlib
import os
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade_registries.local.source import LocalSource
from tests.file_systems import NO_MOUNT, tmpfs
from tests.registries.reading import CONTENT, OpenModel
from tests.registries.staging import DISK_BYTES

NOBODY = 65534


@pytest.fixture
def unprivileged() -> contextlib.AbstractContextManager[None]:
    """A block inside which the tests have no rights of root, where they run as root."""

    @contextlib.contextmanager
    def drop() -> Iterator[None]:
        user = os.geteuid()
        if user == 0:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(user)

    return drop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A destination whose file system takes no more than `DISK_BYTES`; without mounts, no file larger than that."""
    folder = tmp_path / "small"
    folder.mkdir()
    with tmpfs(folder, DISK_BYTES) as is_mounted:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        if not is_mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (DISK_BYTES, before[1]))
        try:
            yield folder
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A destination that nobody may write to: mounted read-only, or without mounts by its mode."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    with tmpfs(folder, DISK_BYTES, "ro") as is_mounted:
        if not is_mounted:
            folder.chmod(0o555)
            if os.geteuid() == 0:
                pytest.skip(NO_MOUNT)  # root may write anywhere else
        yield folder
        if not is_mounted:
            folder.chmod(0o755)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A temporary folder that every user may enter, which pytest's are not."""
    with tempfile.TemporaryDirectory(prefix="crossfade-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty destination."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with one model."""
    model = tmp_path / "root/model"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(CONTENT)
    return tmp_path / "root"


@pytest.fixture
def open_model(root: Path) -> Iterator[OpenModel]:
    """Open sources that are closed after the test."""
    opened = []

    def open_source(path: str = "model", root: Path = root) -> LocalSource:
        source = LocalSource(root, path, f"local://models/{path}")
        opened.append(source)
        return source

    yield open_source
    for source in opened:
        source.close()
