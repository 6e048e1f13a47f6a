"""Of several jobs that publish under one name exactly one does, on any store."""

import threading
from types import SimpleNamespace

import pytest

from crossfade_core.errors import OutputExists, OutputMoved, SinkError
from crossfade_core.job import JobId
from crossfade_registries.s3.staging import STAGING
from tests.registries.s3_sink.publishing import FILES, OLD, OTHER, QUICK, Rig, Store, below
from tests.registries.staging import JOB, publish, stage

JOBS = [JobId(f"job-{letter}") for letter in "abcd"]
NAME = "a/tuned"
CLAIMS = f"{STAGING}/claims/a~tuned"


def files_of(job: JobId) -> dict[str, bytes]:
    return {**FILES, "lineage.json": f'{{"job": "{job}"}}'.encode(), "model-00002-of-00002.safetensors": job.encode()}


def race(store: Store, client=None) -> dict[JobId, BaseException | None]:
    """Let every job commit at the same moment; return how each ended."""
    sinks = {job: store.sink(job, client=client) for job in JOBS}
    files = {job: stage(sinks[job], NAME, files_of(job)) for job in JOBS}
    barrier = threading.Barrier(len(JOBS))
    ended = {}

    def commit(job: JobId) -> None:
        barrier.wait(60)
        try:
            sinks[job].commit(NAME, files[job])
            ended[job] = None
        except SinkError as error:
            ended[job] = error

    threads = [threading.Thread(target=commit, args=[job]) for job in JOBS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for sink in sinks.values():
        sink.discard()
    return ended


def check_one_won(store: Store, ended: dict[JobId, BaseException | None]) -> None:
    won = [job for job, error in ended.items() if error is None]
    assert len(won) == 1
    assert all(isinstance(error, OutputExists) for job, error in ended.items() if job not in won)
    assert store.content() == below(NAME, files_of(won[0]))
    assert store.uploads() == []


@pytest.mark.parametrize("attempt", range(3))
def test_exactly_one_of_several_jobs_gets_a_name(store, attempt):
    check_one_won(store, race(store))


def test_exactly_one_gets_a_name_on_a_store_that_ignores_if_none_match(moto):
    def forget(params: dict, **_: object) -> None:
        params["headers"].pop("If-None-Match", None)

    store = moto.new_store()
    moto.proxied.meta.events.register("before-call.s3.PutObject", forget, unique_id="forget")
    try:
        check_one_won(store, race(store))
    finally:
        moto.proxied.meta.events.unregister("before-call.s3.PutObject", unique_id="forget")


@pytest.mark.parametrize("dead", ["job-0", "job-2"])
def test_claim_of_a_dead_job_is_named_with_what_to_delete(moto_store, dead, monkeypatch):
    monkeypatch.setattr("crossfade_registries.s3.claims.LOOK_SECONDS", 0.001)
    moto_store.put(f"{CLAIMS}/{dead}")
    sink = moto_store.sink(JOB)
    files = stage(sink, NAME, FILES)
    with pytest.raises(OutputExists, match=f"job {dead} is publishing there; .* If it is dead, delete s3://") as caught:
        sink.commit(NAME, files)
    key = f"s3://{moto_store.bucket}/team/outputs/{CLAIMS}/{dead}"
    assert caught.value.message.endswith(key)
    assert caught.value.details == {"output": NAME, "job": dead}
    assert f"{CLAIMS}/{JOB}" not in moto_store.content()
    moto_store.client.delete_object(Bucket=moto_store.bucket, Key=key.split("/", 3)[3])
    sink.commit(NAME, files)
    assert moto_store.visible() == below(NAME, FILES)


def test_job_that_waits_goes_on_when_the_other_withdraws(moto_store, monkeypatch):
    moto_store.put(f"{CLAIMS}/{OTHER}")
    waits = []

    def withdraw(seconds: float) -> None:
        waits.append(seconds)
        moto_store.client.delete_object(Bucket=moto_store.bucket, Key=f"team/outputs/{CLAIMS}/{OTHER}")

    monkeypatch.setattr("crossfade_registries.s3.claims.time", SimpleNamespace(sleep=withdraw))
    publish(moto_store.sink(JOB), NAME, FILES)
    assert len(waits) == 1
    assert moto_store.visible() == below(NAME, FILES)


def test_two_processes_that_commit_one_job_publish_it_once_and_whole(store):
    files = stage(store.sink(), NAME, FILES)
    uris = []
    threads = [
        threading.Thread(target=lambda: uris.append(store.sink(patience=QUICK).commit(NAME, files))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(set(uris)) == 1
    assert store.visible() == below(NAME, FILES)


def publishing_meanwhile(rig: Rig, store: Store):
    """Let a stranger put a lineage of their own just before this service puts its."""

    def put(params: dict, **_: object) -> None:
        if params["url_path"].endswith("lineage.json") and STAGING not in params["url_path"]:
            store.put(f"{NAME}/lineage.json", b"theirs")

    rig.proxied.meta.events.register("before-call.s3.PutObject", put, unique_id="stranger")


def test_lineage_of_somebody_who_knows_no_claims_is_not_replaced(moto):
    store = moto.new_store()
    sink = store.sink()
    files = stage(sink, NAME, FILES)
    publishing_meanwhile(moto, store)
    try:
        with pytest.raises(OutputMoved, match=r"lineage\.json: somebody else wrote there"):
            sink.commit(NAME, files)
    finally:
        moto.proxied.meta.events.unregister("before-call.s3.PutObject", unique_id="stranger")
    with pytest.raises(OutputExists):
        store.sink().commit(NAME, files)
    store.sink().discard()
    assert store.content() == {f"{NAME}/lineage.json": b"theirs"}


def test_output_published_after_the_early_check_is_not_replaced(store):
    sink = store.sink()
    sink.check_free(NAME)
    publish(store.sink(OTHER), NAME, OLD)
    with pytest.raises(OutputExists, match="exists; choose another"):
        publish(sink, NAME, FILES)
    assert store.visible() == below(NAME, OLD)
