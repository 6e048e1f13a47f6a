"""A registry that misbehaves while it is written to: the whole output in the end, or an error and nothing to see."""

import pytest

from crossfade_core.errors import SinkDenied, SinkError, SinkRateLimited, SinkUnavailable
from tests.fakes.http_faults import Disconnect, LoseAnswer, Slow, Stall, Status, WrongBytes
from tests.ports.outcomes import attempted, check_tells_no_secret
from tests.ports.publishing import FILES, IGNORED, NAME, OTHER, PLANNED, SECOND, SHARD, THEIRS, Service, below
from tests.registries.staging import publish, stage

ONCE = {
    "500": Status(500),
    "503": Status(503),
    "429": Status(429, {"Retry-After": "1"}),
    "no answer": Disconnect(),
    "cut in the middle": Disconnect(after_bytes=200_000),
    "answer lost": LoseAnswer(),
    "silent for a while": Stall(0.3),
    "slow": Slow(5_000_000),
}
FOR_EVER = {
    "503": (Status(503), SinkUnavailable),
    "429": (Status(429, {"Retry-After": "0"}), SinkRateLimited),
    "no answer": (Disconnect(), SinkUnavailable),
    "cut in the middle": (Disconnect(after_bytes=200_000), SinkUnavailable),
}
NOTHING_TO_CUT = ("cut in the middle", "slow")
"""Of what passes no server of the tests, or is too short."""

pytestmark = [pytest.mark.filterwarnings(IGNORED), pytest.mark.slow]


@pytest.fixture
def service(remote, scratch):
    return Service(remote, scratch)


@pytest.mark.parametrize("fault", ONCE)
def test_output_is_whole_after_a_fault_while_its_bytes_go_up(service, fault):
    sink = service.sink()
    service.place.fail(ONCE[fault], "send", file=SHARD)
    publish(sink, NAME, FILES)
    sink.discard()
    assert service.place.visible() == below(NAME, FILES)
    assert service.place.staged() == set()


@pytest.mark.parametrize("remote", ["swift", "xet"], indirect=True)
def test_output_is_whole_after_faults_at_other_stores_too(service):
    for moment in ("list", "send", "publish"):
        service.place.fail(Status(503), moment, output=NAME, file=SHARD)
    sink = service.sink()
    sink.check_free(NAME)
    publish(sink, NAME, FILES)
    sink.discard()
    assert service.place.visible() == below(NAME, FILES)


@pytest.mark.parametrize("fault", [fault for fault in ONCE if fault not in NOTHING_TO_CUT])
def test_output_is_whole_after_a_fault_at_its_last_request(service, fault):
    sink = service.sink()
    staged = stage(sink, NAME, FILES)
    service.place.fail(ONCE[fault], "publish", output=NAME)
    uri = sink.commit(NAME, staged)
    assert sink.commit(NAME, staged) == uri
    sink.discard()
    assert service.place.visible() == below(NAME, FILES)
    assert service.place.staged() == set()


@pytest.mark.parametrize("fault", FOR_EVER)
def test_upload_that_always_fails_names_the_file_and_leaves_nothing(service, fault):
    action, kind = FOR_EVER[fault]
    sink = service.sink()
    service.place.fail(action, "send", file=SHARD, times=None)
    with pytest.raises(kind, match=f"{NAME}/{SHARD}") as caught:
        stage(sink, NAME, {SHARD: FILES[SHARD]})
    assert caught.value.retryable
    check_tells_no_secret(service.place, caught.value)
    service.place.heal()
    sink.discard()
    assert service.place.visible() == {}
    assert service.place.staged() == set()
    publish(service.sink(OTHER), NAME, THEIRS)
    assert service.place.visible() == below(NAME, THEIRS)


@pytest.mark.parametrize("fault", [fault for fault in FOR_EVER if fault not in NOTHING_TO_CUT])
def test_last_request_that_always_fails_names_the_output_which_does_not_look_whole(service, fault):
    action, kind = FOR_EVER[fault]
    sink = service.sink()
    staged = stage(sink, NAME, FILES)
    service.place.fail(action, "publish", output=NAME, times=None)
    with pytest.raises(kind, match=NAME) as caught:
        sink.commit(NAME, staged)
    check_tells_no_secret(service.place, caught.value)
    assert "lineage.json" not in service.place.published(NAME)
    service.place.heal()
    sink.discard()
    assert service.place.visible() == {}
    assert service.place.staged() == set()
    publish(service.sink(OTHER), NAME, THEIRS)
    assert service.place.visible() == below(NAME, THEIRS)


def test_commit_that_failed_is_done_again_by_the_same_job(service):
    sink = service.sink()
    staged = stage(sink, NAME, FILES)
    service.place.fail(Status(503), "publish", output=NAME, times=None)
    with pytest.raises(SinkUnavailable):
        sink.commit(NAME, staged)
    service.place.heal()
    again = service.restarted().sink()
    stage(again, NAME, {file: body for file, body in FILES.items() if not file.endswith(".safetensors")})
    again.commit(NAME, PLANNED)
    again.discard()
    assert service.place.visible() == below(NAME, FILES)
    assert service.place.staged() == set()


def test_replacing_that_fails_leaves_the_old_output_or_none_that_looks_whole(service):
    publish(service.sink(OTHER), NAME, THEIRS)
    service.sink(OTHER).discard()
    sink = service.sink(overwrite=True)
    staged = stage(sink, NAME, FILES)
    service.place.fail(Status(503), "publish", output=NAME, times=None)
    with pytest.raises(SinkUnavailable):
        sink.commit(NAME, staged)
    found = service.place.published(NAME)
    assert found == THEIRS or "lineage.json" not in found
    service.place.heal()
    sink.commit(NAME, staged)
    assert service.place.visible() == below(NAME, FILES)


@pytest.mark.parametrize(("file", "moment"), [(SHARD, "send"), (SECOND, "send small")])
def test_wrong_byte_on_the_way_up_is_never_published(service, file, moment):
    service.place.fail(WrongBytes(at=3), moment, file=file)
    sink = service.sink()
    _, error = attempted(lambda: publish(sink, NAME, FILES))
    if error is not None:
        assert isinstance(error, SinkError)
        assert error.retryable
        assert "lineage.json" not in service.place.published(NAME)
        publish(service.sink(), NAME, FILES)
    assert service.place.visible() == below(NAME, FILES)


@pytest.mark.parametrize("when", ["before", "while staging", "at the commit"])
def test_refused_credential_is_an_error_that_tells_the_way_out_and_no_secret(service, when):
    sink = service.sink()
    if when == "before":
        service.place.revoke()
        with pytest.raises(SinkDenied, match="credential") as caught:
            sink.check_free(NAME)
    elif when == "while staging":
        sink.check_free(NAME)
        service.place.revoke()
        with pytest.raises(SinkDenied, match="credential") as caught:
            stage(sink, NAME, {SHARD: FILES[SHARD]})
    else:
        staged = stage(sink, NAME, FILES)
        service.place.revoke()
        with pytest.raises(SinkDenied, match="credential") as caught:
            sink.commit(NAME, staged)
    assert not caught.value.retryable
    assert NAME in caught.value.message
    check_tells_no_secret(service.place, caught.value)
    service.place.heal()
    assert service.place.visible() == {}
