"""What `Source` promises holds for every registry, also while it misbehaves."""

import dataclasses
import hashlib
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossfade_core.errors import (
    PathOutsideRoot,
    ShortRead,
    SourceChanged,
    SourceCorrupted,
    SourceDenied,
    SourceNotFound,
    SourceRateLimited,
    SourceUnavailable,
)
from crossfade_registries.hub_branch import HUB_FILES
from crossfade_registries.layout import check_unchanged
from tests.fakes.http_faults import Disconnect, ShortAnswer, Slow, Stall, Status, WrongBytes
from tests.ports.places import registries_of
from tests.ports.reading import CONFIG, CONTENT, FILES, LARGE, SHARD, Model, fetched, read, write_folder
from tests.ports.s3_place import s3_place

PIECE_BYTES = 1 << 20
BLOCK_BYTES = 8 << 20
"""What remote sources fetch ahead at a time."""

ONCE = {
    "500": Status(500),
    "503": Status(503),
    "429": Status(429, {"Retry-After": "1"}),
    "no answer": Disconnect(),
    "cut in the middle": Disconnect(after_bytes=100_000),
    "short": ShortAnswer(100_000),
    "silent for a while": Stall(0.3),
    "slow": Slow(1_000_000),
}
EVERY = pytest.mark.parametrize("place", ["local", "s3", "swift", "hub", "xet"], indirect=True)
EVERY_REMOTE = pytest.mark.parametrize("remote", ["s3", "swift", "hub", "xet"], indirect=True)
FOR_EVER = {
    "500": (Status(500), SourceUnavailable),
    "503": (Status(503, {"Retry-After": "0"}), SourceUnavailable),
    "429": (Status(429, {"Retry-After": "0"}), SourceRateLimited),
    "no answer": (Disconnect(), SourceUnavailable),
}


@pytest.fixture
def model(place, tmp_path, scratch):
    return at(place, tmp_path, scratch)


@pytest.fixture
def remote_model(remote, tmp_path, scratch):
    return at(remote, tmp_path, scratch)


@pytest.fixture
def large(remote, tmp_path, scratch):
    return at(remote, tmp_path, scratch, {SHARD: LARGE})


def at(place, tmp_path, scratch, files=FILES):
    uri = place.put("model", write_folder(tmp_path / "checkpoint", files))
    return Model(place, "model", uri, registries_of(place, place, scratch))


def check_tells_no_secret(place, error):
    said = f"{error} {error!r} {error.as_record()}"
    assert not [secret for secret in place.secrets if secret in said]


@EVERY
def test_files_are_those_at_the_top_with_their_sizes_and_the_digests_that_are_known(model):
    with model.opened() as source:
        files = {name: info for name, info in source.files().items() if name not in HUB_FILES}
    assert {name: info.size_bytes for name, info in files.items()} == {name: len(body) for name, body in FILES.items()}
    assert {info.name for info in files.values()} == files.keys()
    digests = {name: info.sha256 for name, info in files.items() if info.sha256 is not None}
    assert digests == {name: hashlib.sha256(FILES[name]).hexdigest() for name in digests}


def test_versions_change_with_the_content_and_only_then(model):
    with model.opened() as source:
        before = source.files()
    model.place.replace(model.name, SHARD, CONTENT[::-1])
    with model.opened() as source:
        after = source.files()
    assert [name for name in before if before[name].version != after[name].version] == [SHARD]


def test_checkpoint_that_is_not_there_is_named(model):
    uri = model.uri.replace("/model@", "/absent@").removesuffix("/model") + ("" if "@" in model.uri else "/absent")
    with pytest.raises(SourceNotFound) as caught, model.opened(uri) as source:
        source.files()
    assert caught.value.message.startswith(uri)
    check_tells_no_secret(model.place, caught.value)


@pytest.mark.parametrize("is_expected", [False, True])
def test_any_range_is_exactly_the_bytes_asked_for(place, tmp_path, scratch, is_expected):
    size = len(LARGE)
    ranges = [
        *((0, 0), (0, 1), (0, 8), (7, 7), (65_535, 65_537), (100, 70_000)),
        *((BLOCK_BYTES - 1, BLOCK_BYTES + 1), (BLOCK_BYTES, 2 * BLOCK_BYTES), (5, size - 5)),
        *((size - 1, size), (size - 70_000, size), (0, size)),
    ]
    with at(place, tmp_path, scratch, {SHARD: LARGE}).opened() as source:
        if is_expected:
            source.expect([(SHARD, 0, size)])
        wrong = [span for span in ranges if read(source, SHARD, *span) != LARGE[slice(*span)]]
    assert wrong == []


@EVERY
def test_every_file_is_read_whole_and_empty_ones_too(model):
    with model.opened() as source:
        assert {name: read(source, name) for name in FILES} == FILES


def test_range_past_the_end_is_a_short_read_that_names_the_file(model):
    with model.opened() as source:
        assert read(source, SHARD, len(CONTENT) - 4) == CONTENT[-4:]
        with pytest.raises(ShortRead, match=f"{source.uri}/{SHARD}") as caught:
            read(source, SHARD, len(CONTENT) - 4, len(CONTENT) + 4)
    assert caught.value.details == {"source": source.uri, "file": SHARD}


@pytest.mark.parametrize("is_expected", [False, True])
def test_threads_share_a_source(model, is_expected):
    def is_right(start: int) -> bool:
        return read(source, SHARD, start, start + 5_000) == CONTENT[start : start + 5_000]

    with model.opened() as source, ThreadPoolExecutor(8) as pool:
        if is_expected:
            source.expect([(SHARD, 0, len(CONTENT))])
        assert all(pool.map(is_right, range(0, 290_000, 7_000)))
        assert all(pool.map(lambda _: read(source, "config.json") == CONFIG, range(16)))


@EVERY_REMOTE
def test_expected_bytes_come_right_and_each_once(large):
    spans = [(SHARD, 1_000, 9_000_000), (SHARD, 9_000_000, 9_500_001), (SHARD, 12_000_000, len(LARGE))]
    with large.opened() as source:
        read(source, SHARD, 0, 1_000)  # a header, in front of what a pass streams
        before = fetched(large.place, large.name, SHARD, 1_000)
        source.expect(spans)
        for _, start, end in spans:
            for at_byte in range(start, end, PIECE_BYTES):
                until = min(at_byte + PIECE_BYTES, end)
                assert read(source, SHARD, at_byte, until) == LARGE[at_byte:until]
    expected_bytes = sum(end - start for _, start, end in spans)
    assert fetched(large.place, large.name, SHARD, before + expected_bytes) == before + expected_bytes


def test_what_is_read_in_another_order_than_expected_comes_right(model):
    cuts = [*range(0, len(CONTENT), 40_000), len(CONTENT)]
    spans = [(SHARD, start, end) for start, end in itertools.pairwise(cuts)]
    with model.opened() as source:
        source.expect(spans)
        for _, start, end in [*spans[::-1], *spans[::3]]:
            assert read(source, SHARD, start, end) == CONTENT[start:end]
        assert read(source, "config.json") == CONFIG
        source.expect([])
        source.expect([("config.json", 0, len(CONFIG)), (SHARD, 9, 100_000)])
        assert read(source, SHARD, 9, 100_000) == CONTENT[9:100_000]
        assert read(source, "config.json") == CONFIG


def test_source_that_is_closed_while_bytes_are_under_way_is_closed_soon(large):
    large.place.fail(Slow(1_000_000), "read", times=None)
    with large.opened() as source:
        source.expect([(SHARD, 0, len(LARGE))])
        while not any(SHARD in path for path in large.place.asked()):
            time.sleep(0.01)
        began = time.monotonic()
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("name", ["absent.json", "", ".", "..", "../other/model.safetensors", "onnx/model.onnx", "/etc/passwd"])
def test_name_that_is_no_file_at_the_top_is_refused(model, tmp_path, name):
    model.place.put("other", write_folder(tmp_path / "other", FILES))
    with model.opened() as source, pytest.raises((SourceNotFound, PathOutsideRoot), match=source.uri) as caught:
        source.read_into(name, 0, memoryview(bytearray(1)))
    assert caught.value.details["file"] == name
    check_tells_no_secret(model.place, caught.value)


def test_name_that_is_no_file_at_the_top_is_not_even_asked_for(remote_model):
    with remote_model.opened() as source:
        source.files()
        before = remote_model.place.asked()
        with pytest.raises((SourceNotFound, PathOutsideRoot)):
            source.read_into("../other/model.safetensors", 0, memoryview(bytearray(1)))
        with pytest.raises((SourceNotFound, PathOutsideRoot)):
            source.expect([("../other/model.safetensors", 0, 1)])
        assert remote_model.place.asked() == before


@EVERY
def test_pinned_uri_is_the_same_bytes_later_or_they_are_known_to_have_changed(model):
    with model.opened() as source:
        pinned, uri = source.files(), source.uri
    model.place.replace(model.name, SHARD, CONTENT[::-1])
    with model.opened(uri) as again:
        if model.place.has_fixed_uris:
            check_unchanged(again, pinned)
            assert read(again) == CONTENT
        else:
            with pytest.raises(SourceChanged, match=f"{uri}/{SHARD}: changed since the job was planned"):
                check_unchanged(again, pinned)


@EVERY_REMOTE
@pytest.mark.parametrize("is_expected", [False, True])
def test_file_replaced_while_it_is_read_is_never_mixed(large, is_expected):
    half = len(LARGE) // 2
    with large.opened() as source:
        if is_expected:
            source.expect([(SHARD, 0, len(LARGE))])
        first = read(source, SHARD, 0, half)
        large.place.replace(large.name, SHARD, bytes(len(LARGE)))
        try:
            rest = read(source, SHARD, half)
        except SourceChanged as error:
            assert not large.place.has_fixed_uris
            assert error.message.startswith(f"{large.uri}/{SHARD}: ")
            assert error.details["file"] == SHARD
        else:
            assert large.place.has_fixed_uris or is_expected, "only what was fetched ahead can still be read"
            assert first + rest == LARGE


@EVERY_REMOTE
def test_bytes_come_right_after_a_break_in_the_middle_of_what_is_fetched_ahead(large):
    for skip in (0, 1):
        large.place.fail(Disconnect(after_bytes=3_000_000), "read", skip=skip)
    with large.opened() as source:
        source.expect([(SHARD, 0, len(LARGE))])
        assert read(source) == LARGE


@pytest.mark.parametrize("fault", ONCE)
def test_bytes_come_right_after_a_fault(remote_model, fault):
    remote_model.place.fail(ONCE[fault], "read")
    with remote_model.opened() as source:
        assert read(source) == CONTENT


@pytest.mark.parametrize("fault", ["500", "503", "429", "no answer", "silent for a while"])
def test_files_are_listed_after_a_fault(remote_model, fault):
    remote_model.place.fail(ONCE[fault], "list")
    with remote_model.opened() as source:
        assert source.files()[SHARD].size_bytes == len(CONTENT)


@pytest.mark.parametrize("fault", FOR_EVER)
@pytest.mark.parametrize("moment", ["list", "read"])
def test_fault_that_stays_is_an_error_that_names_the_object_and_may_be_tried_again(remote_model, fault, moment):
    action, kind = FOR_EVER[fault]
    remote_model.place.fail(action, moment, times=None)
    with pytest.raises(kind) as caught, remote_model.opened() as source:
        read(source)
    named = f"/{SHARD}" if moment == "read" else ""
    assert caught.value.message.startswith(f"{remote_model.uri.partition('@')[0]}")
    assert f"{named}: " in caught.value.message
    assert caught.value.retryable
    check_tells_no_secret(remote_model.place, caught.value)
    remote_model.place.heal()
    with remote_model.opened() as source:
        assert read(source) == CONTENT


def test_read_that_failed_for_good_can_be_done_again_when_the_fault_is_gone(remote_model):
    remote_model.place.fail(Status(503), "read", times=None)
    with remote_model.opened() as source:
        source.expect([(SHARD, 0, len(CONTENT))])
        with pytest.raises(SourceUnavailable):
            read(source, SHARD, 0, 100_000)
        remote_model.place.heal()
        assert read(source) == CONTENT


@pytest.mark.parametrize("kind", ["s3", "hub", "xet"])
def test_wrong_byte_is_noticed_where_the_registry_states_a_digest(new_place, kind, tmp_path, scratch):
    model = at(new_place(kind), tmp_path, scratch)
    model.place.fail(WrongBytes(at=123_456), "read")
    with model.opened() as source:
        try:
            found = hashlib.sha256(read(source)).hexdigest()
        except SourceCorrupted as error:
            assert error.message.startswith(f"{source.uri}/{SHARD}: ")
            assert error.retryable
        else:
            assert source.files()[SHARD].sha256 not in (None, found)
    with model.opened() as source:
        assert read(source) == CONTENT


@EVERY_REMOTE
def test_refused_credential_is_an_error_that_tells_the_way_out_and_no_secret(remote_model):
    remote_model.place.revoke()
    with pytest.raises(SourceDenied, match="credential") as caught, remote_model.opened() as source:
        source.files()
    assert not caught.value.retryable
    assert caught.value.message.startswith(remote_model.uri)
    check_tells_no_secret(remote_model.place, caught.value)


def test_credential_refused_while_the_job_runs_is_such_an_error_too(remote_model):
    with remote_model.opened() as source:
        source.files()
        remote_model.place.revoke()
        with pytest.raises(SourceDenied, match="credential") as caught:
            read(source, "config.json", 0, len(CONFIG))
    assert caught.value.details["file"] == "config.json"
    check_tells_no_secret(remote_model.place, caught.value)


@pytest.mark.parametrize("what", ["wrong key", "user without rights"])
def test_store_that_looks_at_keys_denies_wrong_ones(swift, swift_client, what, tmp_path, scratch):
    wrong = dataclasses.replace(swift, secret_key="no-key-of-this-store")
    user = wrong if what == "wrong key" else swift.for_stranger
    with s3_place(swift, swift_client, user=user) as place:
        model = at(place, tmp_path, scratch)
        with pytest.raises(SourceDenied, match="refused the credential 's3-keys'") as caught, model.opened() as source:
            source.files()
    check_tells_no_secret(place, caught.value)
