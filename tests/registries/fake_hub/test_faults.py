"""What the Hub is told to do wrong it does, and the real client meets it."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx2
import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError

from tests.fakes.http_faults import Disconnect, LoseAnswer, ReplaceAnswer, ShortAnswer, Slow, Stall, Status, WrongBytes
from tests.fakes.hub import Hub
from tests.registries.fake_hub.asking import SHA256, WEIGHTS, OpenHub, add, api_of, commit, get, with_weights

# huggingface_hub 2.4.0 hands files to httpx2 as `data=`, which that has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_a_429_is_waited_out_and_tells_for_how_long(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=waits.append))
    hub.add_repo("acme/model")
    hub.fail(Status(429, {"Retry-After": "7"}), method="POST", path_contains="/preupload/")
    commit(hub, add("config.json", b"{}"))
    assert sum("/preupload/" in each.path for each in hub.requests) == 2
    assert waits == [8.0]  # the client adds a second
    hub.fail(Status(429, {"RateLimit": '"api";r=0;t=55'}), path_contains="/api/models")
    with pytest.raises(HfHubHTTPError, match="Retry after 55 seconds"):
        api_of(hub).model_info("acme/model")


def test_a_download_cut_in_its_middle_goes_on_where_it_broke(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 50_000)  # what it keeps of a broken body
    with_weights(hub)
    hub.fail(Disconnect(after_bytes=100_000), method="GET", origin="storage")
    path = api_of(hub).hf_hub_download("acme/model", "model.safetensors", cache_dir=tmp_path)
    assert Path(path).read_bytes() == WEIGHTS
    assert hub.requests[-1].range == "bytes=100000-"
    assert hub.bytes_read["acme/model", "model.safetensors"] == len(WEIGHTS)


def test_an_upload_cut_in_its_middle_is_sent_again(hub: Hub) -> None:
    hub.add_repo("acme/model")
    hub.fail(Disconnect(after_bytes=100_000), method="PUT", origin="storage")
    commit(hub, add("model.safetensors", WEIGHTS))
    assert sum(each.method == "PUT" for each in hub.requests) == 2
    assert hub.read("acme/model", "model.safetensors") == WEIGHTS


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_wrong_byte_is_wrong_once_and_nowhere_else(hub: Hub, file: str) -> None:
    with_weights(hub)
    hub.push("acme/model", {"config.json": WEIGHTS})
    url = f"{hub.url}/acme/model/resolve/main/{file}"
    hub.fail(WrongBytes(at=300_000), method="GET", origin="storage" if file == "model.safetensors" else "hub")
    found = get(url).content
    assert [at for at in range(len(WEIGHTS)) if found[at] != WEIGHTS[at]] == [300_000]
    assert get(url).content == WEIGHTS


def test_a_wrong_byte_in_an_upload_is_found_by_verify(hub: Hub) -> None:
    sha = hub.add_repo("acme/model")
    hub.fail(WrongBytes(at=7), method="PUT", origin="storage")
    with pytest.raises(RuntimeError) as caught:
        commit(hub, add("model.safetensors", WEIGHTS))
    assert "422" in str(caught.value.__cause__)
    assert hub.commits("acme/model")[0].id == sha
    commit(hub, add("model.safetensors", WEIGHTS))
    assert hub.read("acme/model", "model.safetensors") == WEIGHTS


def test_a_lost_answer_leaves_the_commit_made(hub: Hub) -> None:
    sha = hub.add_repo("acme/model")
    hub.fail(LoseAnswer(), method="POST", path_contains="/commit/")
    with pytest.raises(httpx2.RemoteProtocolError, match="disconnected"):
        commit(hub, add("config.json", b"{}"), parent_commit=sha)
    assert "config.json" in hub.tree("acme/model")


def test_a_server_that_is_away_answers_nothing(hub: Hub) -> None:
    hub.add_repo("acme/model")
    hub.fail(Disconnect(), path_contains="/api/models", times=None)
    with pytest.raises(httpx2.RemoteProtocolError, match="disconnected"):
        api_of(hub).model_info("acme/model")
    hub.traffic.faults.clear()
    assert api_of(hub).model_info("acme/model").id == "acme/model"


def test_a_reset_is_no_orderly_end(hub: Hub) -> None:
    with_weights(hub)
    hub.fail(Disconnect(after_bytes=100_000, is_reset=True), method="GET", origin="storage")
    with pytest.raises(httpx2.ReadError):
        get(f"{hub.url}/acme/model/resolve/main/model.safetensors")


def test_a_short_answer_says_nothing_of_being_short(hub: Hub) -> None:
    with_weights(hub)
    hub.fail(ShortAnswer(10), method="GET", origin="storage")
    answer = get(f"{hub.url}/acme/model/resolve/main/model.safetensors", Range="bytes=5-99")
    assert (answer.status_code, answer.content) == (206, WEIGHTS[5:15])
    assert answer.headers["Content-Range"] == f"bytes 5-99/{len(WEIGHTS)}"


def test_an_answer_can_be_replaced_after_the_deed(hub: Hub) -> None:
    hub.add_repo("acme/model")
    hub.fail(ReplaceAnswer(Status(500)), method="POST", path_contains="/branch/")
    with pytest.raises(HfHubHTTPError, match="500"):
        api_of(hub).create_branch("acme/model", branch="new")
    assert "new" in hub.repo("acme/model").branches


def test_an_upload_cut_off_leaves_nothing_behind(hub: Hub) -> None:
    hub.add_repo("acme/model")
    hub.fail(Disconnect(after_bytes=100_000), method="PUT", times=None)
    with pytest.raises(RuntimeError):
        commit(hub, add("model.safetensors", WEIGHTS))
    assert not hub.bytes_written
    hub.traffic.faults.clear()
    commit(hub, add("model.safetensors", WEIGHTS))
    assert hub.bytes_written == {("acme/model", SHA256): len(WEIGHTS)}


@pytest.mark.parametrize("action", [Slow(1_000_000), Stall(0.5)])
def test_slow_and_stalled_answers_take_their_time(hub: Hub, action: Slow | Stall) -> None:
    with_weights(hub)
    hub.fail(action, method="GET", origin="storage")
    started = time.monotonic()
    assert get(f"{hub.url}/acme/model/resolve/main/model.safetensors").content == WEIGHTS
    assert time.monotonic() - started > 0.4


@pytest.mark.parametrize("skip", [0, 2])
def test_a_fault_passes_over_as_many_requests_as_told(hub: Hub, skip: int) -> None:
    hub.add_repo("acme/model")
    hub.fail(Status(503), path_contains="/api/models", skip=skip, times=2)
    statuses = [get(f"{hub.url}/api/models/acme/model").status_code for _ in range(5)]
    assert statuses == [200] * skip + [503] * 2 + [200] * (3 - skip)


def test_all_downloads_together_keep_to_the_rate(open_hub: OpenHub) -> None:
    hub = open_hub(bytes_per_second=2_000_000)
    with_weights(hub)
    url = f"{hub.url}/acme/model/resolve/main/model.safetensors"
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        assert all(answer.content == WEIGHTS for answer in pool.map(get, [url, url]))
    assert time.monotonic() - started > 0.4  # 2 × 512 KiB at 2 MB/s
