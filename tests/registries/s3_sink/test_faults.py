"""Whatever goes wrong on the way, the output ends right, or there is none and the error names the object."""

import contextlib

import pytest

from crossfade_core.errors import SinkDenied, SinkError, SinkUnavailable, StagedFileCorrupted, StagedFileLost
from crossfade_core.ports import FileWriter
from crossfade_registries.s3.client import open_s3
from crossfade_registries.s3.staging import STAGING
from crossfade_registries.settings import Credential, S3Access
from tests.fakes.http_faults import Disconnect, LoseAnswer, ReplaceAnswer, Status, WrongBytes
from tests.fakes.http_proxy import INTERNAL_ERROR, SLOW_DOWN
from tests.registries.s3_sink.publishing import FILES, PART_BYTES, QUICK, SHARD, below
from tests.registries.staging import facts, publish, stage

STAGED = facts(FILES)
TOO_MANY = Status(429, {"Retry-After": "0"})
EXPIRED = Status(
    400,
    {"Content-Type": "application/xml"},
    b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
)
NO_SUCH_UPLOAD = Status(
    404,
    {"Content-Type": "application/xml"},
    b"<Error><Code>NoSuchUpload</Code><Message>The specified multipart upload does not exist.</Message></Error>",
)


@pytest.mark.parametrize(
    "fault", [INTERNAL_ERROR, SLOW_DOWN, TOO_MANY, Disconnect(), Disconnect(100_000), LoseAnswer()]
)
def test_faults_that_pass_change_nothing(moto_store, fault):
    sink = moto_store.sink(patience=QUICK)
    for method in ("PUT", "POST", "GET", "HEAD", "DELETE"):
        moto_store.proxy.fail(fault, method=method, skip=1, times=2)
    publish(sink, "tuned", FILES)
    sink.discard()
    assert moto_store.content() == below("tuned", FILES)
    assert moto_store.uploads() == []


@pytest.mark.parametrize("file", FILES)
def test_answer_that_is_lost_after_any_file_became_visible_changes_nothing(moto_store, file):
    sink = moto_store.sink(patience=QUICK)
    stage(sink, "tuned", FILES)
    for method in ("PUT", "POST"):
        moto_store.proxy.fail(LoseAnswer(), method=method, path_contains=f"/outputs/tuned/{file}")
    sink.commit("tuned", STAGED)
    assert moto_store.visible() == below("tuned", FILES)


def test_upload_that_was_completed_before_is_looked_at_where_the_store_has_forgotten_it(moto_store):
    sink = moto_store.sink()
    files = stage(sink, "tuned", FILES)
    moto_store.proxy.fail(ReplaceAnswer(NO_SUCH_UPLOAD), method="POST", path_contains="uploadId=")
    sink.commit("tuned", files)
    assert moto_store.visible() == below("tuned", FILES)


@pytest.mark.parametrize("job", ["", "job-2"])
def test_upload_that_is_gone_is_not_made_up_for_by_somebody_elses_object(moto_store, job):
    sink = moto_store.sink()
    files = stage(sink, "tuned", FILES)
    moto_store.proxy.fail(NO_SUCH_UPLOAD, method="POST", path_contains="uploadId=")
    with pytest.raises(StagedFileLost, match=f"outputs/tuned/{SHARD}"):
        sink.commit("tuned", files)
    moto_store.put(f"tuned/{SHARD}", FILES[SHARD], job=job)
    moto_store.proxy.fail(NO_SUCH_UPLOAD, method="POST", path_contains="uploadId=")
    with pytest.raises(StagedFileLost, match=f"outputs/tuned/{SHARD}"):
        sink.commit("tuned", files)
    assert "tuned/lineage.json" not in moto_store.visible()
    sink.discard()
    assert moto_store.content() == below("tuned", {SHARD: FILES[SHARD]})


def test_part_that_arrives_damaged_is_sent_again(store):
    store.proxy.fail(WrongBytes(4_000_000), method="PUT", path_contains="partNumber=1")
    sink = store.sink(checksums="md5", patience=QUICK)
    publish(sink, "tuned", FILES)
    assert store.visible() == below("tuned", FILES)


def test_store_that_verifies_crc64nvme_has_a_damaged_part_sent_again(swift_store):
    swift_store.proxy.fail(WrongBytes(4_000_000), method="PUT", path_contains="partNumber=1")
    publish(swift_store.sink(patience=QUICK), "tuned", FILES)
    assert swift_store.visible() == below("tuned", FILES)


def test_part_that_is_always_damaged_ends_with_an_error_that_names_the_object(moto_store):
    moto_store.proxy.fail(WrongBytes(4_000_000), method="PUT", path_contains="partNumber=1", times=None)
    sink = moto_store.sink(checksums="md5", patience=QUICK)
    with pytest.raises(StagedFileCorrupted, match=f"outputs/tuned/{SHARD}: sent bytes of md5 .* took in"):
        stage(sink, "tuned", {SHARD: FILES[SHARD]})


def test_damage_that_the_store_takes_in_silently_is_found_by_its_checksum_of_the_whole(moto_store):
    moto_store.proxy.fail(WrongBytes(4_000_000), method="PUT", path_contains="partNumber=1")
    sink = moto_store.sink()
    files = stage(sink, "tuned", FILES)
    with pytest.raises(
        StagedFileCorrupted, match=f"outputs/tuned/{SHARD}: 5243880 bytes .* made something else"
    ) as caught:
        sink.commit("tuned", files)
    assert caught.value.details == {"output": "tuned", "file": SHARD}
    assert f"tuned/{SHARD}" not in moto_store.visible()
    sink.discard()
    assert moto_store.content() == {}


@pytest.mark.parametrize("file", FILES)
def test_damaged_staged_file_is_not_published(moto_store, file):
    sink = moto_store.sink()
    files = stage(sink, "tuned", FILES)
    for key, body in moto_store.content().items():
        if f"/{file}/" in key and not key.endswith(".open"):
            moto_store.put(key, body[:-1] + b"?" if body else b"?")
    with pytest.raises(SinkError, match=file):
        sink.commit("tuned", files)
    assert "tuned/lineage.json" not in moto_store.visible()
    sink.discard()
    assert moto_store.content() == {}


def test_store_that_confirms_nothing_is_read_back(swift_store):
    sink = swift_store.sink(checksums="crc64nvme")
    files = stage(sink, "tuned", FILES)
    swift_store.proxy.clear()
    sink.commit("tuned", files)
    start = f"/{swift_store.bucket}/team/outputs/tuned"
    read = swift_store.proxy.traffic.bytes_read
    for file, content in FILES.items():
        assert read["GET", f"{start}/{file}"] == len(content)


def test_damage_found_by_reading_back_is_not_published(swift_store):
    sink = swift_store.sink(checksums="crc64nvme")
    files = stage(sink, "tuned", FILES)
    swift_store.proxy.fail(WrongBytes(7), method="GET", path_contains=f"/outputs/tuned/{SHARD}")
    with pytest.raises(StagedFileCorrupted, match=SHARD):
        sink.commit("tuned", files)
    sink.discard()
    assert swift_store.content() == {}


@pytest.mark.parametrize("checksums", ["crc64nvme", "md5"])
def test_what_the_store_confirms_is_not_read_back(moto_store, checksums):
    sink = moto_store.sink(checksums=checksums)
    files = stage(sink, "tuned", FILES)
    moto_store.proxy.clear()
    sink.commit("tuned", files)
    read = moto_store.proxy.traffic.bytes_read
    assert read["GET", f"/{moto_store.bucket}/team/outputs/tuned/{SHARD}"] == 0


def test_checksums_may_be_configured_anew_between_staging_and_commit(store):
    files = stage(store.sink(checksums="md5"), "tuned", FILES)
    store.sink(checksums="crc64nvme").commit("tuned", files)
    assert store.visible() == below("tuned", FILES)


def test_first_part_that_is_refused_ends_the_writing(moto_store):
    moto_store.proxy.fail(Status(403), method="PUT", path_contains="partNumber=", times=None)
    content = memoryview(bytes(60 * PART_BYTES))
    sink = moto_store.sink()
    writer = sink.create_file("tuned", SHARD, len(content))
    with pytest.raises(SinkDenied, match=f"outputs/tuned/{SHARD}"):
        writer.write(content)
    writer.abandon()
    sink.discard()  # an abandoned writer tries once, over a connection that the refusal may have closed
    assert moto_store.content() == {}
    assert moto_store.uploads() == []


def write_shard(writer: FileWriter) -> None:
    """Write it whole; a refusal of its first part may be met while the rest is written, or at the end."""
    writer.write(memoryview(FILES[SHARD]))
    writer.finish(STAGED[SHARD].sha256)


def test_writer_that_outlives_the_discard_publishes_nothing(store):
    sink = store.sink()
    late = sink.create_file("tuned", SHARD, len(FILES[SHARD]))
    store.sink().discard()
    with pytest.raises(SinkError):
        write_shard(late)
    late.abandon()
    assert store.content() == {}
    assert store.uploads() == []


def test_store_that_is_away_is_said_to_be_and_abandon_raises_nothing(moto_store):
    sink = moto_store.sink(patience=QUICK)
    writer = sink.create_file("tuned", SHARD, len(FILES[SHARD]))
    moto_store.proxy.fail(Disconnect(), times=None)
    with pytest.raises(SinkUnavailable):
        sink.check_free("tuned")
    with pytest.raises(SinkUnavailable):
        write_shard(writer)
    writer.abandon()
    moto_store.proxy.clear()
    sink.discard()
    assert moto_store.content() == {}
    assert moto_store.uploads() == []


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_expired_credentials_are_named_and_never_shown(swift_store, method):
    server = swift_store.rig.server
    access = S3Access(endpoint_url=swift_store.proxy.url, path_style=True, credential="outputs")
    keys = Credential(access_key_id=server.access_key, secret_access_key=server.secret_key)
    swift_store.proxy.fail(EXPIRED, method=method, times=None)
    expired = pytest.raises(SinkDenied, match="temporary keys of the credential 'outputs' have expired")
    with contextlib.closing(open_s3(access, keys)) as client, expired as caught:
        swift_store.sink(client=client).check_free("tuned")
    assert server.secret_key not in str(caught.value.as_record())


def test_wrong_credentials_are_noticed_early(swift_store):
    access = S3Access(endpoint_url=swift_store.proxy.url, path_style=True, credential="outputs")
    keys = Credential(access_key_id=swift_store.rig.server.access_key, secret_access_key="wrong-secret")
    denied = pytest.raises(SinkDenied, match="credential 'outputs'")
    with contextlib.closing(open_s3(access, keys)) as client, denied as caught:
        swift_store.sink(client=client).check_free("tuned")
    assert "wrong-secret" not in str(caught.value.as_record())


def test_right_to_write_is_tried_once_and_leaves_nothing(moto_store):
    sink = moto_store.sink()
    sink.check_free("a")
    sink.check_free("b")
    assert len(moto_store.asked("PUT")) == 1
    assert moto_store.asked("PUT")[0].startswith(STAGING)
    assert moto_store.content() == {}
    moto_store.proxy.fail(Status(403), method="PUT")
    with pytest.raises(SinkDenied):
        moto_store.sink().check_free("a")
