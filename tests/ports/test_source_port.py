"""What `Source` promises holds for every registry, also while it misbehaves."""

import hashlib
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossfade_core.errors import (
    PathOutsideRoot,
    ShortRead,
    SourceChanged,
    SourceNotFound,
)
from crossfade_registries.hub.branch import HUB_FILES
from crossfade_registries.layout import check_unchanged
from tests.fakes.http_faults import Slow
from tests.ports.outcomes import attempted, check_tells_no_secret
from tests.ports.places import LocalPlace
from tests.ports.reading import BELOW, CONFIG, CONTENT, FILES, LARGE, SHARD, fetched, model_at, read, write_folder

PIECE_BYTES = 1 << 20
BLOCK_BYTES = 8 << 20
"""What remote sources fetch ahead at a time."""

EVERY = pytest.mark.parametrize("place", ["local", "s3", "swift", "hub", "xet"], indirect=True)
EVERY_REMOTE = pytest.mark.parametrize("remote", ["s3", "swift", "hub", "xet"], indirect=True)


@EVERY
def test_files_are_those_at_the_top_with_their_sizes_and_the_digests_that_are_known(model):
    with model.opened() as source:
        files = {name: info for name, info in source.files().items() if name not in HUB_FILES}
    assert {name: info.size_bytes for name, info in files.items()} == {name: len(body) for name, body in FILES.items()}
    assert {info.name for info in files.values()} == files.keys()
    digests = {name: info.sha256 for name, info in files.items() if info.sha256 is not None}
    assert digests == {name: hashlib.sha256(FILES[name]).hexdigest() for name in digests}


@EVERY
def test_what_is_not_listed_is_told_by_path_and_cannot_be_read(model):
    with model.opened() as source:
        assert source.unlisted() == (
            {"onnx": "a folder"} if isinstance(model.place, LocalPlace) else {BELOW: "a file in a folder"}
        )
        with pytest.raises((SourceNotFound, PathOutsideRoot)):
            source.read_into(next(iter(source.unlisted())), 0, memoryview(bytearray(1)))


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
def test_any_range_is_exactly_the_bytes_asked_for(place, tmp_path, is_expected):
    size = len(LARGE)
    ranges = [
        *((0, 0), (0, 1), (0, 8), (7, 7), (65_535, 65_537), (100, 70_000)),
        *((BLOCK_BYTES - 1, BLOCK_BYTES + 1), (BLOCK_BYTES, 2 * BLOCK_BYTES), (5, size - 5)),
        *((size - 1, size), (size - 70_000, size), (0, size)),
    ]
    with model_at(place, tmp_path, {SHARD: LARGE}).opened() as source:
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
    large.place.fail(Slow(100_000), "read", times=None)
    with large.opened() as source:
        source.expect([(SHARD, 0, len(LARGE))])
        while not any(SHARD in path for path in large.place.asked()):
            time.sleep(0.01)
        began = time.monotonic()
    assert time.monotonic() - began < 30  # all of it would take 80 s


def test_name_that_is_no_file_at_the_top_is_refused(model, tmp_path):
    model.place.put("other", write_folder(tmp_path / "other", FILES))
    with model.opened() as source:
        for name in ("absent.json", "", ".", "..", "../other/model.safetensors", BELOW, "/etc/passwd"):
            with pytest.raises((SourceNotFound, PathOutsideRoot), match=source.uri) as caught:
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
        rest, error = attempted(lambda: read(source, SHARD, half))
    if rest is not None:
        assert large.place.has_fixed_uris or is_expected, "only what was fetched ahead can still be read"
        assert first + rest == LARGE
    else:
        assert not large.place.has_fixed_uris
        assert isinstance(error, SourceChanged)
        assert error.message.startswith(f"{large.uri}/{SHARD}: ")
        assert error.details["file"] == SHARD
