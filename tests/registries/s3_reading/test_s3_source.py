"""An S3 source reads the objects that were there when they were listed, each byte once, and asks for little."""

import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossfade_core.errors import PathOutsideRoot, ShortRead, SourceChanged, SourceNotFound
from crossfade_registries.layout import check_unchanged
from tests.fakes.http_faults import Status
from tests.registries.s3_reading.models import CONFIG, CONTENT, LARGE, SHARD, URI, read, read_through

MIB = 1 << 20
KIB64 = 64 << 10


def page_of(file, token):
    entry = f"<Contents><Key>llama/{file}</Key><ETag>&quot;1&quot;</ETag><Size>1</Size></Contents>"
    truncated = f"<IsTruncated>{str(bool(token)).lower()}</IsTruncated>"
    body = f"<ListBucketResult>{entry}{truncated}{token}</ListBucketResult>"
    return Status(200, {"Content-Type": "application/xml"}, body.encode())


@pytest.mark.parametrize(
    ("start", "end"), [(0, 8), (0, len(CONTENT)), (70_000, 170_000), (len(CONTENT) - 1, len(CONTENT)), (9, 9)]
)
def test_read_gives_exactly_the_bytes_asked_for(model, start, end):
    with model.opened() as source:
        assert read(source, SHARD, start, end) == CONTENT[start:end]


def test_files_are_the_objects_directly_below_the_prefix(model):
    model.put("", b"")
    model.put("..", b"climbs")
    model.put("a\\b", b"no name for a file everywhere")
    model.direct.put_object(Bucket=model.bucket, Key="llama-2/config.json", Body=b"a neighbour's")
    with model.opened() as source:
        files = source.files()
    assert list(files) == ["config.json", SHARD]
    assert [info.size_bytes for info in files.values()] == [len(CONFIG), len(CONTENT)]
    assert source.uri == URI


def test_files_of_more_than_one_page_are_all_there(model):
    for page in (page_of("a.json", "<NextContinuationToken>there</NextContinuationToken>"), page_of("b.json", "")):
        model.proxy.fail(page, path_contains="list-type=2")
    with model.opened() as source:
        assert list(source.files()) == ["a.json", "b.json"]
    queries = [each.query for each in model.proxy.traffic.requests]
    assert ["continuation-token=there" in query for query in queries] == [False, True]


def test_version_is_the_contents_and_not_the_times(model):
    with model.opened() as source:
        before = source.files()
        model.put("config.json", CONFIG)
        assert source.files() == before
        check_unchanged(source, before)
        model.put("config.json", CONFIG[::-1])
        assert source.files()["config.json"].version != before["config.json"].version
        with pytest.raises(SourceChanged, match=r"config\.json: changed since the job was planned"):
            check_unchanged(source, before)


@pytest.mark.parametrize("prefix", ["absent", "llam", "llama/config.json"])
def test_prefix_with_nothing_below_is_not_found(model, prefix):
    with model.opened(prefix) as source, pytest.raises(SourceNotFound, match=rf"^{URI}: nothing lies there"):
        source.files()


def test_prefix_with_folders_only_is_an_empty_model(model):
    model.direct.put_object(Bucket=model.bucket, Key="group/model/config.json", Body=CONFIG)
    with model.opened("group") as source:
        assert source.files() == {}


def test_bucket_that_is_not_there_is_not_found(model):
    model.direct.delete_objects(
        Bucket=model.bucket,
        Delete={"Objects": [{"Key": f"llama/{file}"} for file in (SHARD, "config.json", "onnx/model.onnx")]},
    )
    model.direct.delete_bucket(Bucket=model.bucket)
    with model.opened() as source, pytest.raises(SourceNotFound, match="there is no such bucket"):
        source.files()


def test_missing_file_is_named_without_a_request(model):
    with model.opened() as source:
        source.files()
        model.proxy.traffic.clear()
        with pytest.raises(SourceNotFound, match=rf"^{URI}/absent\.json: there is no such object"):
            read(source, "absent.json", 0, 8)
        with pytest.raises(SourceNotFound):
            source.expect([("absent.json", 0, 8)])
        assert model.proxy.traffic.requests == []


@pytest.mark.parametrize("name", ["../other/config.json", "..", ".", "", "onnx/model.onnx", "a\\b", "a\nb"])
def test_name_that_is_no_plain_one_is_refused_without_a_request(model, name):
    with model.opened() as source:
        with pytest.raises(PathOutsideRoot, match="is no plain file name"):
            read(source, name, 0, 8)
        assert model.proxy.traffic.requests == []


def test_range_behind_the_end_is_a_short_read_without_a_request(model):
    with model.opened() as source:
        source.files()
        model.proxy.traffic.clear()
        with pytest.raises(ShortRead, match=f"expected 8 bytes at {len(CONTENT) - 7}, the file has {len(CONTENT)}"):
            read(source, SHARD, len(CONTENT) - 7, len(CONTENT) + 1)
        assert model.proxy.traffic.requests == []


def test_header_and_small_file_are_one_small_request_each(model):
    with model.opened() as source:
        assert read(source, SHARD, 0, 8) + read(source, SHARD, 8, 9_000) == CONTENT[:9_000]
        assert read(source, "config.json") == read(source, "config.json") == CONFIG
        assert model.ranges() == [f"bytes=0-{KIB64 - 1}"]
        assert model.ranges("config.json") == [f"bytes=0-{len(CONFIG) - 1}"]


def test_reading_nothing_says_whether_the_file_may_be_read(model):
    model.put("empty.json", b"")
    with model.opened() as source:
        read(source, SHARD, 0, 0)
        read(source, "empty.json", 0, 0)
        model.direct.delete_object(Bucket=model.bucket, Key="llama/config.json")
        with pytest.raises(SourceNotFound):
            read(source, "config.json", 0, 0)


def test_pass_fetches_every_byte_once_in_large_ranges_several_at_a_time(model):
    model.put(SHARD, LARGE)
    model.proxy.download.bytes_per_second = 40e6
    try:
        with model.opened() as source:
            assert read_through(source) == LARGE
    finally:
        model.proxy.download.bytes_per_second = None
    edges = [0, 5_000, 5_000 + 8 * MIB, 5_000 + 16 * MIB, len(LARGE)]
    wanted = [f"bytes={start}-{end - 1}" for start, end in itertools.pairwise(edges)]
    assert sorted(model.ranges()) == sorted(wanted)
    assert model.sent_bytes() == len(LARGE)


def test_threads_share_a_source(model):
    def work(seed):
        chance = random.Random(seed)
        together.wait(30)
        starts = [chance.randrange(len(CONTENT) - 50_000) for _ in range(10)]
        return all(read(source, SHARD, at, at + 50_000) == CONTENT[at : at + 50_000] for at in starts)

    together = threading.Barrier(4)
    with model.opened() as source, ThreadPoolExecutor(4) as pool:
        source.expect([(SHARD, 0, len(CONTENT))])
        assert all(pool.map(work, range(4)))
