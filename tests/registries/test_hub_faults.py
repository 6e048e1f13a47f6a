"""What goes wrong between a Hub and its reader is put right where trying again can do it, and named where it cannot."""

import threading
import time

import pytest

from crossfade_core.errors import (
    SourceChanged,
    SourceCorrupted,
    SourceDenied,
    SourceError,
    SourceRateLimited,
    SourceUnavailable,
)
from crossfade_registries.hub import download
from crossfade_registries.retrying import Patience
from tests.fakes.http_faults import Disconnect, Stall, Status
from tests.fakes.hub import Hub
from tests.registries.hub_reading import CONFIG, CONTENT, QUICK, REPO, SHARD, counts, opened, ranges, read

END = len(CONTENT) - 1
WHOLE = f"bytes=0-{END}"


@pytest.fixture
def hub(tmp_path):
    with Hub(tmp_path / "hub") as hub:
        hub.add_repo(REPO)
        hub.push(REPO, {SHARD: CONTENT, "config.json": CONFIG})
        yield hub


def test_transfer_that_breaks_goes_on_at_the_byte_where_it_broke(hub):
    hub.fail(Disconnect(after_bytes=100_000), origin="storage")
    hub.fail(Disconnect(after_bytes=50_000), origin="storage")
    with opened(hub) as source:
        assert read(source) == CONTENT
    assert ranges(hub) == [WHOLE, f"bytes=100000-{END}", f"bytes=150000-{END}"]
    assert counts(hub, len(CONTENT))


def test_answer_shorter_than_asked_for_is_gone_on_with(hub):
    headers = {"Content-Range": f"bytes 0-3/{len(CONTENT)}"}
    hub.fail(Status(206, headers, CONTENT[:4]), origin="storage")
    with opened(hub) as source:
        assert read(source) == CONTENT
    assert ranges(hub) == [WHOLE, f"bytes=4-{END}"]


@pytest.mark.parametrize("action", [Disconnect(), Status(500), Status(503), Status(408)])
@pytest.mark.parametrize("path", ["/api/models/", "/resolve/", "/models/"])
def test_one_failure_of_any_request_is_tried_again(hub, action, path):
    hub.fail(action, path_contains=path)
    with opened(hub) as source:
        assert read(source) == CONTENT


def test_patience_ends_after_its_own_count_of_requests_with_the_file_named(hub):
    hub.fail(Status(503, {"Retry-After": "0"}), origin="storage", times=None)
    with opened(hub) as source:
        with pytest.raises(SourceUnavailable, match=f"/{SHARD}: the Hub answered 503") as caught:
            read(source)
        assert caught.value.details["file"] == SHARD
        assert caught.value.details["source"] == source.uri
    assert ranges(hub) == [WHOLE] * QUICK.attempts


def test_hub_that_asks_for_a_second_is_left_alone_for_it(hub):
    hub.fail(Status(429, {"Retry-After": "1"}), method="HEAD")
    with opened(hub) as source:
        began = time.monotonic()
        assert read(source, size_bytes=8) == CONTENT[:8]
    assert 1 <= time.monotonic() - began < 30


def test_hub_that_asks_for_more_than_there_is_patience_is_rate_limited(hub):
    hub.fail(Status(429, {"RateLimit": '"resolvers";r=0;t=55'}), origin="hub", method="HEAD")
    with opened(hub) as source, pytest.raises(SourceRateLimited, match="asks for fewer requests") as caught:
        read(source)
    assert caught.value.details["retry_after_seconds"] == 55


def test_silence_is_taken_for_a_broken_transfer(hub, monkeypatch):
    monkeypatch.setattr(download, "SILENCE_SECONDS", 2)
    hub.fail(Stall(300), origin="storage")
    with opened(hub) as source:
        assert read(source) == CONTENT


def test_link_that_has_expired_is_asked_for_again(hub):
    hub.storage.url_seconds = 600
    with opened(hub) as source:
        assert read(source) == CONTENT
        hub.storage.now = lambda: time.time() + 601
        assert read(source, offset=100_000) == CONTENT[100_000:]
        assert read(source, offset=70_000) == CONTENT[70_000:]
    assert [asked.method for asked in hub.requests if asked.origin == "hub"] == ["GET", "HEAD", "HEAD"]


def test_link_that_is_never_good_names_the_file_and_not_its_signature(hub):
    hub.storage.url_seconds = -1
    with (
        opened(hub) as source,
        pytest.raises(SourceUnavailable, match="refused the Hub's link to it \\(403\\)") as caught,
    ):
        read(source)
    assert SHARD in caught.value.message
    assert "X-Signature" not in str(caught.value.as_record())


def test_credential_revoked_during_the_job_is_denied(hub):
    hub.add_token("hf_reader", "reader")
    with opened(hub, token="hf_reader") as source:
        read(source)
        hub.remove_token("hf_reader")
        assert read(source) == CONTENT, "a link is good until it expires"
        hub.fail(Status(403), origin="storage")
        with pytest.raises(SourceDenied, match="token of the configured credential is wrong or expired"):
            read(source)


@pytest.mark.parametrize(
    ("headers", "what"),
    [
        ({"X-Repo-Commit": "0" * 40}, "commit"),
        ({"X-Linked-Etag": '"5ome0ther"'}, "content"),
        ({"ETag": 'W/"5ome0ther"'}, "content"),
        ({"X-Linked-Size": "1"}, "size"),
    ],
)
def test_file_that_the_hub_now_describes_otherwise_has_changed(hub, headers, what):
    hub.fail(Status(200, headers), method="HEAD")
    with (
        opened(hub) as source,
        pytest.raises(SourceChanged, match=f"/{SHARD}: its {what} was .* in the listing and is"),
    ):
        read(source)
    assert ranges(hub) == []


def test_object_of_another_size_is_corrupt(hub):
    hub.fail(Status(206, {"Content-Range": "bytes 0-7/999"}, bytes(8)), origin="storage", times=None)
    with (
        opened(hub) as source,
        pytest.raises(SourceCorrupted, match=f"lists {len(CONTENT)} bytes, its storage holds 999"),
    ):
        read(source, size_bytes=8)


def test_whole_file_in_place_of_a_range_serves_where_it_begins_there(hub):
    hub.fail(Status(200, body=CONTENT), origin="storage", times=None)
    with opened(hub) as source:
        assert read(source, size_bytes=70_000) == CONTENT[:70_000]
        with pytest.raises(SourceError, match="asked for the bytes from 70000 on, got them from 0 on") as caught:
            read(source, offset=70_000)
    assert not caught.value.retryable


def test_encoded_body_is_refused(hub):
    headers = {"Content-Range": f"bytes 0-{END}/{len(CONTENT)}", "Content-Encoding": "gzip"}
    hub.fail(Status(206, headers, bytes(10)), origin="storage")
    with opened(hub) as source, pytest.raises(SourceError, match="encoded as gzip; look for a proxy"):
        read(source)


def test_redirects_without_end_are_given_up(hub):
    hub.fail(Status(302, {"Location": "/round"}), method="HEAD", times=None)
    with opened(hub) as source, pytest.raises(SourceUnavailable, match="over 10 redirects"):
        read(source)


def test_read_ahead_goes_on_after_a_failure_that_was_raised(hub):
    hub.fail(Status(503), origin="storage", times=QUICK.attempts)
    with opened(hub) as source:
        source.expect([(SHARD, 0, len(CONTENT))])
        with pytest.raises(SourceUnavailable):
            read(source)
        assert read(source) == CONTENT


@pytest.mark.timeout(120)
def test_close_does_not_wait_for_a_transfer_under_way(hub, monkeypatch):
    monkeypatch.setattr(download, "SILENCE_SECONDS", 300)
    hub.fail(Stall(300), origin="storage")
    with opened(hub, patience=Patience(attempts=1)) as source:
        source.expect([(SHARD, 0, len(CONTENT))])
        while not ranges(hub):
            threading.Event().wait(0.01)
