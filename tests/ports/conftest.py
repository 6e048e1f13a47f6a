"""Places of each kind, their servers started once, and clients that do not wait between two tries."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import stamina
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from crossfade_stores.engine import create_store_engine
from crossfade_stores.schema import upgrade
from tests.fakes.checkpoints import Pair
from tests.ports.hub_place import hub_place
from tests.ports.places import LocalPlace, Place, RemotePlace
from tests.ports.reading import LARGE, SHARD, Model, model_at
from tests.ports.s3_place import s3_place
from tests.ports.service import LAMBDAS, PlacedDeployment, write_large_pair
from tests.s3_servers import MotoServer, SwiftServer, moto_server, swift_server

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

REMOTE = ("s3", "hub")
KINDS = ("local", *REMOTE)
ATTEMPTS = 4

NewPlace = Callable[[str], Place]


@pytest.fixture(scope="package")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """It believes any signature."""
    with moto_server(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="package")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    """It checks signatures, and states no checksum but MD5."""
    with swift_server(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture(scope="package")
def moto_client(moto: MotoServer) -> Iterator["S3Client"]:
    """Made once: to make one takes longer than most tests."""
    with contextlib.closing(moto.client()) as client:
        yield client


@pytest.fixture(scope="package")
def swift_client(swift: SwiftServer) -> Iterator["S3Client"]:
    """The same for Swift."""
    with contextlib.closing(swift.client()) as client:
        yield client


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Let each thing be tried a few times without waiting, and the Hub's client leave nothing behind."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: None))
    with stamina.set_testing(True, attempts=ATTEMPTS, cap=True):
        yield
    close_session()


@pytest.fixture
def new_place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NewPlace]:
    """Make places; of several, the last says whether the Hub's client uploads to Xet, which a process does or not."""
    made: list[Place] = []
    with contextlib.ExitStack() as stack:

        def make(kind: str) -> Place:
            monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", kind != "xet")
            made.append(_place(request, stack, kind, tmp_path / f"{kind}-{len(made)}"))
            return made[-1]

        yield make
        faults_left = sum(place.faults_left for place in made if isinstance(place, RemotePlace))
        assert faults_left == 0, "a fault that the test relies on never happened"


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, new_place: NewPlace) -> Place:
    """An empty place of each kind; a test asks for `swift` and `xet` where they may differ from `s3` and `hub`."""
    return new_place(request.param)


@pytest.fixture(params=REMOTE)
def remote(request: pytest.FixtureRequest, new_place: NewPlace) -> Place:
    """An empty place of each kind behind HTTP."""
    return new_place(request.param)


@pytest.fixture
def model(place: Place, tmp_path: Path) -> Model:
    """A small checkpoint at a place of each kind."""
    return model_at(place, tmp_path)


@pytest.fixture
def remote_model(remote: Place, tmp_path: Path) -> Model:
    """The same at places behind HTTP."""
    return model_at(remote, tmp_path)


@pytest.fixture
def large(remote: Place, tmp_path: Path) -> Model:
    """A checkpoint whose shard is several blocks of what is fetched ahead."""
    return model_at(remote, tmp_path, {SHARD: LARGE})


@pytest.fixture(scope="package")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema and no rows."""
    file = tmp_path_factory.mktemp("database") / "empty.db"
    engine = create_store_engine(f"sqlite:///{file}")
    upgrade(engine)
    engine.dispose()
    return file


@pytest.fixture
def deployed(tmp_path: Path, empty_database: Path) -> Iterator[Callable[..., PlacedDeployment]]:
    """Deploy a service between two places."""
    with contextlib.ExitStack() as stack:

        def deploy(source: Place, destination: Place, **options: Any) -> PlacedDeployment:
            engine = create_store_engine(f"sqlite:///{shutil.copy(empty_database, tmp_path / 'crossfade.db')}")
            stack.callback(engine.dispose)
            return PlacedDeployment(tmp_path / "machine", engine, source, destination, **options)

        yield deploy


@pytest.fixture(scope="package")
def expected(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> dict[str, str]:
    """What the small pair gives from folder to folder, by output and file."""
    folder = tmp_path_factory.mktemp("expected")
    engine = create_store_engine(f"sqlite:///{shutil.copy(empty_database, folder / 'crossfade.db')}")
    place = LocalPlace(folder / "place")
    deployment = PlacedDeployment(folder / "machine", engine, place, place)
    assert deployment.run(lambdas=list(LAMBDAS)).state == "SUCCEEDED"
    engine.dispose()
    return deployment.merged_files()


@pytest.fixture(scope="package")
def large_pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A pair whose shards take several parts of an upload."""
    return write_large_pair(tmp_path_factory.mktemp("large"))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """An empty folder for scratch files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def _place(request: pytest.FixtureRequest, stack: contextlib.ExitStack, kind: str, folder: Path) -> Place:
    match kind:
        case "local":
            return LocalPlace(folder)
        case "s3" | "swift":
            server = "moto" if kind == "s3" else "swift"
            fixtures = [request.getfixturevalue(name) for name in (server, f"{server}_client")]
            return stack.enter_context(s3_place(*fixtures))
    return stack.enter_context(hub_place(folder, xet=kind == "xet"))
