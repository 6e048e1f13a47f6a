"""What goes wrong between a store and its reader is put right where that can be, and named where it cannot."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossfade_core.errors import (
    ShortRead,
    SourceChanged,
    SourceDenied,
    SourceError,
    SourceNotFound,
    SourceRateLimited,
    SourceUnavailable,
)
from tests.fakes.http_faults import Disconnect, ReplaceAnswer, Slow, Status
from tests.fakes.http_proxy import INTERNAL_ERROR, SLOW_DOWN
from tests.registries.s3_reading.models import CONFIG, CONTENT, LARGE, QUICK, SHARD, URI, read, read_through

END = len(CONTENT) - 1
EXPIRED = Status(
    400,
    {"Content-Type": "application/xml"},
    b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
)


def replace(model):
    model.put(SHARD, CONTENT[::-1])


def test_transfer_that_breaks_goes_on_at_the_byte_where_it_broke(model):
    model.proxy.fail(Disconnect(after_bytes=1_000_001), path_contains=SHARD)
    model.proxy.fail(Disconnect(after_bytes=70_000), path_contains=SHARD)
    with model.opened() as source:
        assert read(source) == CONTENT
    assert model.ranges() == [f"bytes=0-{END}", f"bytes=1000001-{END}", f"bytes=1070001-{END}"]
    assert model.sent_bytes() == len(CONTENT)


def test_pass_over_a_bad_line_fetches_no_byte_twice(model):
    model.put(SHARD, LARGE)
    for after_bytes in (4_000, 3_000_000, 100, 8_000_000):
        model.proxy.fail(Disconnect(after_bytes=after_bytes), path_contains=SHARD)
    with model.opened() as source:
        assert read_through(source) == LARGE
    assert model.sent_bytes() == len(LARGE)


@pytest.mark.parametrize("fault", [Disconnect(), INTERNAL_ERROR, SLOW_DOWN, Status(429), Status(502)])
@pytest.mark.parametrize("path", ["list-type=2", SHARD])
def test_one_failure_of_any_request_is_tried_again(model, fault, path):
    model.proxy.fail(fault, path_contains=path)
    with model.opened() as source:
        assert read(source, SHARD, 0, 100_000) == CONTENT[:100_000]


@pytest.mark.parametrize(("fault", "kind"), [(INTERNAL_ERROR, SourceUnavailable), (SLOW_DOWN, SourceRateLimited)])
def test_patience_ends_with_the_object_named(model, fault, kind):
    model.proxy.fail(fault, path_contains=SHARD, times=None)
    with model.opened() as source, pytest.raises(kind, match=rf"^{URI}/{SHARD}: ") as caught:
        read(source)
    assert caught.value.retryable
    assert caught.value.details == {"source": URI, "file": SHARD}
    assert len(model.ranges()) == QUICK.attempts


def test_answers_that_all_end_early_are_an_error(model):
    model.proxy.fail(Disconnect(after_bytes=1_000), path_contains=SHARD, times=None)
    with model.opened() as source, pytest.raises(ShortRead, match=SHARD) as caught:
        read(source)
    assert caught.value.retryable
    assert model.ranges() == [f"bytes={at}-{END}" for at in (0, 1_000, 2_000, 3_000)]


def test_answer_of_fewer_bytes_than_asked_for_is_gone_on_with(model):
    with model.opened() as source:
        etag = source.files()[SHARD].version
        headers = {"Content-Range": f"bytes 0-3/{len(CONTENT)}", "ETag": f'"{etag}"'}
        model.proxy.fail(Status(206, headers, CONTENT[:4]), path_contains=SHARD)
        assert read(source) == CONTENT
    assert model.ranges() == [f"bytes=0-{END}", f"bytes=4-{END}"]


def test_answers_with_less_body_than_they_say_are_a_short_read(model):
    headers = {"Content-Range": f"bytes 0-{len(CONFIG) - 1}/{len(CONFIG)}"}
    model.proxy.fail(Status(206, headers), path_contains="config.json", times=None)
    words = rf"^{URI}/config\.json: expected {len(CONFIG)} bytes at 0, the answer ended {len(CONFIG)} bytes early"
    with model.opened() as source, pytest.raises(ShortRead, match=words):
        read(source, "config.json")
    assert len(model.ranges("config.json")) == QUICK.attempts


def test_whole_object_in_place_of_a_range_is_no_range(model):
    model.proxy.fail(Status(200, {}, CONTENT[:100_000]), path_contains=SHARD)
    with model.opened() as source:
        with pytest.raises(SourceError, match="asked for 8 bytes at 90000, the store answered with the whole object"):
            read(source, SHARD, 90_000, 90_008)
        model.proxy.fail(Status(200, {}, CONFIG), path_contains="config.json")
        assert read(source, "config.json") == CONFIG


@pytest.mark.parametrize("found", ["bytes 7-14/2000003", "bytes 0-8/2000003", "bytes */2000003", "items 0-7/9"])
def test_other_range_than_was_asked_for_is_refused(model, found):
    with model.opened() as source:
        source.expect([(SHARD, 8, 8)])
        model.proxy.fail(Status(206, {"Content-Range": found}, bytes(8)), path_contains=SHARD)
        with pytest.raises(SourceError, match=f"the store answered with {found}".replace("*", r"\*")):
            read(source, SHARD, 8, 16)


@pytest.mark.parametrize("expecting", [False, True])
def test_replaced_object_is_noticed_at_the_next_request(model, expecting):
    with model.opened() as source:
        assert read(source, SHARD, 0, 100_000) == CONTENT[:100_000]
        replace(model)
        if expecting:
            source.expect([(SHARD, 100_000, len(CONTENT))])
        with pytest.raises(SourceChanged, match=rf"^{URI}/{SHARD}: the object was replaced while the job ran"):
            read(source, SHARD, 100_000, 200_000)
        source.files()
        with pytest.raises(SourceChanged):
            read(source, SHARD, 100_000, 200_000)


def test_object_replaced_in_the_middle_of_a_broken_answer_is_noticed(model):
    with model.opened() as source, ThreadPoolExecutor(1) as pool:
        source.files()
        model.proxy.download.bytes_per_second = 5e6
        model.proxy.fail(Disconnect(after_bytes=1_000_000), path_contains=SHARD)
        reading = pool.submit(read, source, SHARD, 0, len(CONTENT))
        while not model.ranges():
            time.sleep(0.001)
        replace(model)
        with pytest.raises(SourceChanged):
            reading.result(30)
        model.proxy.download.bytes_per_second = None
    assert model.ranges() == [f"bytes=0-{END}", f"bytes=1000000-{END}"]


def test_store_that_ignores_if_match_is_found_out_by_the_etag(model):
    headers = {"Content-Range": f"bytes 0-{len(CONFIG) - 1}/{len(CONFIG)}", "ETag": '"another"'}
    model.proxy.fail(ReplaceAnswer(Status(206, headers, CONFIG[::-1])), path_contains="config.json")
    with (
        model.opened() as source,
        pytest.raises(SourceChanged, match=r'its ETag is "another" instead of "\w{32}"'),
    ):
        read(source, "config.json")


def test_store_that_knows_no_etags_is_found_out_by_the_size(model):
    headers = {"Content-Range": f"bytes 0-{len(CONFIG) - 1}/{len(CONFIG) + 1}"}
    model.proxy.fail(Status(206, headers, CONFIG), path_contains="config.json")
    with model.opened() as source, pytest.raises(SourceChanged, match=f"it has {len(CONFIG) + 1} bytes instead of"):
        read(source, "config.json")


def test_deleted_object_is_not_found(model):
    with model.opened() as source:
        source.files()
        model.direct.delete_object(Bucket=model.bucket, Key=f"llama/{SHARD}")
        with pytest.raises(SourceNotFound, match=rf"^{URI}/{SHARD}: there is no such object"):
            read(source, SHARD, 0, 8)


@pytest.mark.parametrize("path", ["list-type=2", SHARD])
def test_expired_keys_say_so_at_once_and_by_name(model, path):
    model.proxy.fail(EXPIRED, path_contains=path, times=None)
    with model.opened() as source, pytest.raises(SourceDenied, match="keys of the credential 'team' have expired"):
        read(source)
    assert [each.status for each in model.proxy.traffic.requests].count(400) == 1


def test_denied_listing_and_denied_object_name_the_credential(model):
    for path in ("list-type=2", SHARD):
        model.proxy.fail(Status(403), path_contains=path)
        with model.opened() as source, pytest.raises(SourceDenied, match="the store refused the credential 'team'"):
            read(source)


def test_close_ends_what_is_under_way_soon(model):
    model.proxy.fail(Slow(100_000), path_contains=SHARD, times=None)
    with model.opened() as source:
        source.expect([(SHARD, 0, len(CONTENT))])
        while not model.ranges():
            time.sleep(0.01)
        began = time.monotonic()
    assert time.monotonic() - began < 10  # all of it would take 20 s
