"""A Hub source reads the commit that was there when it was opened, asks for little, and tells nobody else its token."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download

from crossfade_core.errors import ShortRead, SourceError, SourceNotFound, SourceUnavailable
from crossfade_core.spec import MergeSpec
from crossfade_registries.layout import check_unchanged, plan_spec
from tests.fakes.checkpoints import small_files, write_checkpoint
from tests.fakes.http_faults import Status, WrongBytes
from tests.fakes.hub import Hub
from tests.registries.hub_reading import CONFIG, CONTENT, REPO, SHARD, counts, open_model, opened, read
from tests.system.serving import wait_for

SHARDS = 30


@pytest.fixture
def hub(tmp_path):
    with Hub(tmp_path / "hub", xet_dir=tmp_path / "cas") as hub:
        hub.add_repo(REPO)
        hub.push(REPO, {SHARD: CONTENT, "config.json": CONFIG, "onnx/model.onnx": b"below the top"})
        yield hub


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 8), (0, len(CONTENT)), (70_000, 100_000), (len(CONTENT) - 1, 1), (9, 0)]
)
def test_read_gives_exactly_the_bytes_asked_for(hub, offset, size):
    with opened(hub) as source:
        assert read(source, offset=offset, size_bytes=size) == CONTENT[offset : offset + size]


def test_regular_files_are_read_like_large_ones(hub):
    with opened(hub) as source:
        assert read(source, "config.json") == CONFIG
        assert read(source, "config.json", 2, 5) == CONFIG[2:7]


def test_files_in_xet_are_read_like_those_in_lfs(hub):
    hub.add_repo("acme/in-xet")
    hub.push("acme/in-xet", {SHARD: CONTENT}, xet=True)
    with opened(hub, repo="acme/in-xet") as source:
        assert read(source) == CONTENT
        assert source.files()[SHARD].sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_files_are_those_at_the_top_with_the_digest_that_the_hub_states(hub):
    with opened(hub) as source:
        files = source.files()
    assert list(files) == [".gitattributes", "config.json", SHARD]
    assert files[SHARD].size_bytes == len(CONTENT)
    assert files[SHARD].sha256 == files[SHARD].version == hashlib.sha256(CONTENT).hexdigest()
    assert files["config.json"].sha256 is None
    assert files["config.json"].version == hub.tree(REPO)["config.json"].oid


def test_digest_tells_of_bytes_that_went_wrong_on_the_way(hub):
    hub.fail(WrongBytes(at=70_000), origin="storage")
    with opened(hub) as source:
        assert hashlib.sha256(read(source)).hexdigest() != source.files()[SHARD].sha256


def test_branch_that_moves_after_opening_changes_nothing(hub):
    before = hub.commits(REPO)[0].id
    with opened(hub) as source:
        hub.push(REPO, {SHARD: CONTENT[::-1], "config.json": b"{}"})
        assert source.uri == f"hf://{REPO}@{before}"
        assert read(source) == CONTENT
        assert read(source, "config.json") == CONFIG
    with opened(hub, before) as again:
        assert read(again, size_bytes=8) == CONTENT[:8]


def test_branch_with_a_slash_is_resolved_like_any(hub):
    commit = hub.push(REPO, {"config.json": b"{}"}, branch="tuned/v2")
    with opened(hub, "tuned/v2") as source:
        assert source.uri.endswith(commit)
        assert read(source, "config.json") == b"{}"


def test_the_list_of_a_commit_is_asked_for_once(hub):
    with opened(hub) as source:
        check_unchanged(source, source.files())
        assert [asked.method for asked in hub.requests] == ["GET"]


def test_header_and_small_file_are_two_requests_however_they_are_read(hub):
    with opened(hub) as source:
        for offset in range(0, 64_000, 8_000):
            assert read(source, offset=offset, size_bytes=1_000) == CONTENT[offset : offset + 1_000]
        assert len(hub.requests) == 1 + 2
        assert read(source, "config.json", 0, 3) + read(source, "config.json", 3) == CONFIG
        assert len(hub.requests) == 1 + 2 + 2
        assert counts(hub, 65_536)


def test_header_longer_than_what_is_kept_asks_for_the_rest_only(hub):
    with opened(hub) as source:
        assert read(source, size_bytes=8) + read(source, offset=8, size_bytes=100_000) == CONTENT[:100_008]
    assert counts(hub, 100_008)


def test_expected_bytes_are_read_once(hub):
    with opened(hub) as source:
        source.expect([(SHARD, 1_000, 200_000), (SHARD, 200_000, 300_000)])
        for offset in range(1_000, 300_000, 11_500):
            assert read(source, offset=offset, size_bytes=11_500) == CONTENT[offset : offset + 11_500]
    assert counts(hub, 299_000)


def test_threads_share_a_source_and_ask_once_where_a_file_lies(hub):
    def one(number: int) -> bool:
        offset = 65_536 + number * 1_000
        return read(source, offset=offset, size_bytes=5_000) == CONTENT[offset : offset + 5_000]

    with opened(hub) as source, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(40)))
    assert [asked.method for asked in hub.requests if asked.origin == "hub"] == ["GET", "HEAD"]


def test_planning_thirty_shards_of_two_repositories_reads_kilobytes_in_two_requests_a_file(hub, tmp_path):
    tensor = ("BF16", (256, 512), bytes(256 * 512 * 2))
    names = [f"model.layers.{number}.mlp.down_proj.weight" for number in range(SHARDS)]
    for role in ("base", "instruct"):
        extra = small_files(role)
        folder = tmp_path / role
        write_checkpoint(folder, dict.fromkeys(names, tensor), shards=[[name] for name in names], extra_files=extra)
        hub.add_repo(f"acme/{role}", folder)
    spec = MergeSpec(base="hf://acme/base", instruct="hf://acme/instruct", destination="out", lambdas=[0.5])
    plan = plan_spec(spec, lambda uri: open_model(hub, repo=uri.removeprefix("hf://").partition("@")[0]))
    assert len(plan.plan.shards) == SHARDS
    resolved = [asked for asked in hub.requests if "/api/" not in asked.path]
    files = {asked.path for asked in resolved if asked.method == "HEAD"}
    assert len(hub.requests) - len(resolved) == 2
    assert len(files) > 2 * SHARDS
    assert len(resolved) == 2 * len(files)
    assert sum(hub.bytes_read.values()) < 2 * (SHARDS + 10) * 65_536 < 2 * SHARDS * len(tensor[2])


@pytest.mark.parametrize("xet", [False, True])
def test_token_goes_to_the_hub_and_never_to_its_storage(hub, xet):
    hub.add_token("hf_secret", "reader", read=["acme"])
    hub.add_repo("acme/private", private=True)
    hub.push("acme/private", {SHARD: CONTENT, "config.json": CONFIG}, xet=xet)
    with opened(hub, repo="acme/private", token="hf_secret") as source:
        assert read(source) == CONTENT
        assert read(source, "config.json") == CONFIG
    assert {asked.has_token for asked in hub.requests if asked.origin == "hub"} == {True}
    assert {asked.has_token for asked in hub.requests if asked.origin == "storage"} == {False}


def test_redirect_about_the_hub_itself_keeps_the_token(hub):
    hub.add_token("hf_secret", "reader", read=["acme"])
    hub.add_repo("acme/private", private=True)
    commit = hub.push("acme/private", {"config.json": CONFIG, "other.json": CONFIG})
    hub.fail(Status(307, {"Location": f"/acme/private/resolve/{commit}/config.json"}), path_contains="other.json")
    with opened(hub, repo="acme/private", token="hf_secret") as source:
        assert read(source, "other.json") == CONFIG


def test_regular_file_that_lies_elsewhere_is_asked_for_without_the_token(hub):
    hub.add_token("hf_secret", "reader")
    hub.fail(Status(307, {"Location": f"{hub.storage_url}/config.json"}), method="HEAD", path_contains="config.json")
    hub.fail(Status(200, body=CONFIG), origin="storage")
    with opened(hub, token="hf_secret") as source:
        assert read(source, "config.json") == CONFIG
    assert [asked.has_token for asked in hub.requests if asked.origin == "storage"] == [False]


@pytest.mark.parametrize(
    "name",
    ["../../../acme/secret/resolve/main/config.json", "onnx/model.onnx", "absent.json", "..", "", "config.json?x"],
)
def test_name_that_the_commit_does_not_list_is_refused_without_a_request(hub, name):
    with opened(hub) as source:
        listed = len(hub.requests)
        with pytest.raises(SourceNotFound, match=r"is none of the 3 files at the top of the repository") as caught:
            source.read_into(name, 0, memoryview(bytearray(1)))
        with pytest.raises(SourceNotFound):
            source.expect([(name, 0, 1)])
        assert len(hub.requests) == listed
    assert caught.value.details == {"source": source.uri, "file": name}


def test_listing_cannot_name_files_of_elsewhere(hub):
    names = ["../../acme/secret/resolve/main/x", "..", ".", "", "a/b", "a\\b", "a\nb", "good.json"]
    siblings = [{"rfilename": name, "size": 1, "blobId": "0" * 40} for name in names]
    _answer(hub, {"id": REPO, "sha": "0" * 40, "siblings": siblings})
    with opened(hub) as source:
        assert list(source.files()) == ["good.json"]


@pytest.mark.parametrize(
    ("document", "kind", "said"),
    [
        (
            {"id": "acme/renamed", "sha": "0" * 40},
            SourceNotFound,
            r"is called acme/renamed now; write hf://acme/renamed@",
        ),
        ({"id": REPO, "sha": "main"}, SourceError, "names the commit 'main', which cannot be"),
        ({"id": REPO}, SourceError, "names the commit None, which cannot be"),
        (
            {"id": REPO, "sha": "0" * 40, "siblings": [{"rfilename": "x"}]},
            SourceError,
            "x: the Hub lists it without size",
        ),
        ({}, SourceUnavailable, "the answer is none that a Hub gives"),
        ([], SourceUnavailable, "the answer is none that a Hub gives"),
    ],
)
def test_answer_that_pins_nothing_is_refused(hub, document, kind, said):
    _answer(hub, document)
    with pytest.raises(kind, match=said), opened(hub):
        pass


def test_commit_that_answers_as_another_is_refused(hub):
    _answer(hub, {"id": REPO, "sha": "1" * 40})
    with pytest.raises(SourceError, match="which cannot be"), opened(hub, "2" * 40):
        pass


def test_range_past_the_end_is_a_short_read_without_a_request(hub):
    with opened(hub) as source:
        with pytest.raises(ShortRead, match=f"expected 9 bytes at 300000, the file has {len(CONTENT)}"):
            read(source, offset=300_000, size_bytes=9)
        assert len(hub.requests) == 1


def test_cached_files_are_read_without_a_request_for_them(hub, tmp_path):
    for file in (SHARD, "config.json"):
        hf_hub_download(REPO, file, cache_dir=tmp_path / "cache", endpoint=hub.url, token=False)
    before = len(hub.requests)
    with opened(hub, cache=tmp_path / "cache") as source:
        source.expect([(SHARD, 0, len(CONTENT))])
        assert read(source) == CONTENT
        assert read(source, offset=299_999, size_bytes=8) == CONTENT[299_999:]
        assert read(source, "config.json") == CONFIG
        assert len(hub.requests) == before + 1


def test_cache_of_another_commit_is_not_read(hub, tmp_path):
    hf_hub_download(REPO, "config.json", cache_dir=tmp_path / "cache", endpoint=hub.url, token=False)
    hub.push(REPO, {"config.json": CONFIG[::-1]})
    with opened(hub, cache=tmp_path / "cache") as source:
        assert read(source, "config.json") == CONFIG[::-1]


@pytest.mark.parametrize("wrong", [CONTENT[:-1], bytes(8) + CONTENT, b""])
def test_cached_file_of_another_size_is_fetched_from_the_hub(hub, tmp_path, wrong):
    path = hf_hub_download(REPO, SHARD, cache_dir=tmp_path / "cache", endpoint=hub.url, token=False)
    Path(path).write_bytes(wrong)
    with opened(hub, cache=tmp_path / "cache") as source:
        assert read(source) == CONTENT


def test_cached_file_that_is_cut_while_it_is_read_is_fetched_from_the_hub(hub, tmp_path):
    path = hf_hub_download(REPO, SHARD, cache_dir=tmp_path / "cache", endpoint=hub.url, token=False)
    with opened(hub, cache=tmp_path / "cache") as source:
        assert read(source, size_bytes=8) == CONTENT[:8]
        os.truncate(path, 100)
        assert read(source) == CONTENT


def test_close_lets_go_of_every_descriptor_and_thread(hub, tmp_path):
    hf_hub_download(REPO, "config.json", cache_dir=tmp_path / "cache", endpoint=hub.url, token=False)

    def use() -> int:
        with opened(hub, cache=tmp_path / "cache") as source:
            source.expect([(SHARD, 0, len(CONTENT))])
            read(source, size_bytes=8)
            read(source, "config.json")
        source.close()
        return len(os.listdir("/proc/self/task"))

    use()
    hub.state.traffic.is_stopping.wait(0.1)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        use()
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= before + 2, 60)  # the server closes its ends in its own time


def _answer(hub: Hub, document: object) -> None:
    """Let the Hub answer this to every question about the repository."""
    body = json.dumps(document).encode()
    hub.fail(Status(200, {"Content-Type": "application/json"}, body), path_contains="/api/models/", times=None)
