"""The API's dry run over real servers: headers only, whatever the model's size, and those once."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from crossfade_api.app import create_app, open_adapters
from crossfade_api.dependencies import Adapters
from crossfade_api.settings import ApiSettings
from tests.fakes.checkpoints import encode_file
from tests.fakes.queue import RecordingQueue
from tests.ports.places import DESTINATION, Place, RemotePlace
from tests.ports.publishing import IGNORED, SHARD
from tests.ports.service import SHARD_BYTES

ROLES = ("base", "instruct")
BEGINNING_BYTES = 128 << 10
"""What a source fetches of a file to read its header from; see test_jobs_across_registries."""

pytestmark = pytest.mark.filterwarnings(IGNORED)


@pytest.fixture
def api(empty_database: Path, tmp_path: Path) -> Iterator[Callable[[Place], TestClient]]:
    """Run the application over a place."""
    with ExitStack() as running:

        def start(place: Place) -> TestClient:
            settings = ApiSettings.model_validate(
                {
                    **place.reading(),
                    "destinations": {DESTINATION: place.writing()},
                    "credentials": place.credentials(),
                    "scratch": tmp_path,
                    "database_url": f"sqlite:///{empty_database}",
                    "broker_url": f"redis+socket://{tmp_path}/nobody.sock?virtual_host=0",
                }
            )

            @contextmanager
            def opener(settings: ApiSettings) -> Iterator[Adapters]:
                with open_adapters(settings) as adapters:
                    yield replace(adapters, queue=RecordingQueue())

            app = create_app(settings, opener)
            return running.enter_context(TestClient(app, base_url="http://127.0.0.1"))

        yield start


def plan(client: TestClient, uris: dict[str, str]) -> dict:
    answer = client.post("/v1/plans", json={**uris, "lambdas": [0.5], "destination": DESTINATION})
    assert answer.status_code == 200, answer.text
    return answer.json()


def files_read(remote: RemotePlace) -> Counter:
    return sum((remote.read_bytes(role) for role in ROLES), Counter())


def test_plan_reads_headers_only_and_the_next_one_nothing(remote, api, large_pair):
    uris = {role: remote.put(role, getattr(large_pair, role)) for role in ROLES}
    client = api(remote)
    first = plan(client, uris)
    assert (first["accepted"], first["obstacles"]) == (True, [])
    assert first["read_bytes"] > 4 * SHARD_BYTES - (1 << 20)
    assert all("@main" not in uri for uri in first["sources"].values())
    for role in ROLES:
        assert 0 < remote.read_bytes(role)[SHARD] <= BEGINNING_BYTES
    before = files_read(remote)
    assert plan(client, uris) == first
    assert files_read(remote) == before
    assert remote.visible() == {}
    assert remote.staged() == set()


def test_branch_or_object_that_moved_is_read_anew(remote, api, large_pair):
    uris = {role: remote.put(role, getattr(large_pair, role)) for role in ROLES}
    client = api(remote)
    assert plan(client, uris)["accepted"]
    names = [f"model.layers.{number}.mlp.down_proj.weight" for number in range(2)]
    remote.replace("instruct", SHARD, encode_file({name: ("BF16", (1,), bytes(2)) for name in names}))
    (obstacle,) = plan(client, uris)["obstacles"]
    assert [refusal["tensor"] for refusal in obstacle["details"]["refusals"]] == names


def test_source_that_may_no_longer_be_read_is_refused_though_its_headers_are_kept(remote, api, large_pair):
    uris = {role: remote.put(role, getattr(large_pair, role)) for role in ROLES}
    client = api(remote)
    plan(client, uris)
    remote.revoke()
    answer = client.post("/v1/plans", json={**uris, "lambdas": [0.5], "destination": DESTINATION})
    assert (answer.status_code, answer.json()["code"]) in ((422, "source_denied"), (422, "source_not_found"))
