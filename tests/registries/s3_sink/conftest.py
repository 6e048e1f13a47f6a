"""S3 servers, each started once with a proxy before it, and an empty bucket for each test."""

from collections.abc import Iterator

import pytest

from tests.registries.s3_sink.publishing import Rig, Store, rig_of
from tests.s3_servers import moto_server, swift_server


@pytest.fixture(scope="package")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """It verifies no checksum that it is sent, and states CRC64NVME of uploads in parts only."""
    with moto_server(tmp_path_factory.mktemp("moto")) as server, rig_of(server) as rig:
        yield rig


@pytest.fixture(scope="package")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """It verifies both checksums, and states MD5 only."""
    with swift_server(tmp_path_factory.mktemp("swift")) as server, rig_of(server) as rig:
        yield rig


@pytest.fixture(params=["moto", "swift"])
def rig(request: pytest.FixtureRequest) -> Rig:
    """Each of them."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def store(rig: Rig) -> Store:
    """An empty bucket on each of them."""
    return rig.new_store()


@pytest.fixture
def moto_store(moto: Rig) -> Store:
    """An empty bucket on moto."""
    return moto.new_store()


@pytest.fixture
def swift_store(swift: Rig) -> Store:
    """An empty bucket on Swift."""
    return swift.new_store()
