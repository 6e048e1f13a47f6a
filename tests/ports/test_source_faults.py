"""A source that misbehaves gives the right bytes in the end, or an error that names what was asked for."""

import dataclasses
import hashlib

import pytest

from crossfade_core.errors import SourceCorrupted, SourceDenied, SourceRateLimited, SourceUnavailable
from tests.fakes.http_faults import Disconnect, ShortAnswer, Slow, Stall, Status, WrongBytes
from tests.ports.outcomes import attempted, check_tells_no_secret
from tests.ports.reading import BELOW, CONFIG, CONTENT, LARGE, SHARD, model_at, read
from tests.ports.s3_place import s3_place

EVERY_REMOTE = pytest.mark.parametrize("remote", ["s3", "swift", "hub", "xet"], indirect=True)

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
FOR_EVER = {
    "500": (Status(500), SourceUnavailable),
    "503": (Status(503, {"Retry-After": "0"}), SourceUnavailable),
    "429": (Status(429, {"Retry-After": "0"}), SourceRateLimited),
    "no answer": (Disconnect(), SourceUnavailable),
}


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


def test_what_is_not_listed_is_told_after_a_fault_and_never_told_wrong(remote_model):
    with remote_model.opened() as source:
        remote_model.place.fail(Status(503), "list below")
        assert list(source.unlisted()) == [BELOW]
        remote_model.place.fail(Status(503), "list below", times=None)
        with pytest.raises(SourceUnavailable, match=source.uri) as caught:
            source.unlisted()
    check_tells_no_secret(remote_model.place, caught.value)


def test_read_that_failed_for_good_can_be_done_again_when_the_fault_is_gone(remote_model):
    remote_model.place.fail(Status(503), "read", times=None)
    with remote_model.opened() as source:
        source.expect([(SHARD, 0, len(CONTENT))])
        with pytest.raises(SourceUnavailable):
            read(source, SHARD, 0, 100_000)
        remote_model.place.heal()
        assert read(source) == CONTENT


@pytest.mark.parametrize("kind", ["s3", "hub", "xet"])
def test_wrong_byte_is_noticed_where_the_registry_states_a_digest(new_place, kind, tmp_path):
    model = model_at(new_place(kind), tmp_path)
    model.place.fail(WrongBytes(at=123_456), "read")
    with model.opened() as source:
        content, error = attempted(lambda: read(source))
        stated = source.files()[SHARD].sha256
    if content is not None:
        assert stated not in (None, hashlib.sha256(content).hexdigest()), "the engine compares the two"
    else:
        assert isinstance(error, SourceCorrupted)
        assert error.message.startswith(f"{source.uri}/{SHARD}: ")
        assert error.retryable
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
def test_store_that_looks_at_keys_denies_wrong_ones(swift, swift_client, what, tmp_path):
    wrong = dataclasses.replace(swift, secret_key="no-key-of-this-store")
    user = wrong if what == "wrong key" else swift.for_stranger
    with s3_place(swift, swift_client, user=user) as place:
        model = model_at(place, tmp_path)
        with pytest.raises(SourceDenied, match="refused the credential 's3-keys'") as caught, model.opened() as source:
            source.files()
    check_tells_no_secret(place, caught.value)
