"""What the job store promises about jobs, outputs, plans and history, on both databases."""

from collections.abc import Callable
from datetime import UTC, timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import NoResultFound

from crossfade_core.errors import IllegalTransition, JobNotFound
from crossfade_core.job import Job, JobId, JobState, OutputState, OutputSummary, Phase, Progress, Unit, UnitState
from crossfade_core.job_store import JobFilter, JobStore, NewUnit, Submission
from crossfade_core.spec import MergeSpec, spec_digest
from crossfade_stores.job_store import SqlJobStore
from tests.fakes.clock import FakeClock

RunningJob = Callable[[int], tuple[JobId, list[Unit]]]


def run(store: JobStore, job: Job) -> Job:
    return store.move_job(job.id, JobState.RUNNING, phase=Phase.PLANNING)


def event_types(store: JobStore, job_id: JobId) -> list[str]:
    return [event.type for event in store.list_events(job_id)]


def test_a_new_job_is_queued_and_reads_back_as_it_was_returned(store, spec, clock):
    job = store.create_job(spec)
    assert (job.state, job.phase, job.spec, job.spec_digest) == (
        JobState.QUEUED,
        Phase.WAITING,
        spec,
        spec_digest(spec),
    )
    assert job.created_at == job.updated_at == clock.now()
    assert store.get_job(job.id) == job


def test_times_come_out_in_utc_with_their_zone(store, spec, clock):
    clock.advance(0.123456)
    job = store.get_job(store.create_job(spec).id)
    assert job.created_at == clock.now()
    assert job.created_at.tzinfo is UTC
    assert store.list_events(job.id)[0].created_at.tzinfo is UTC


def test_a_new_job_has_one_pending_output_per_lambda_in_the_order_of_the_spec(store, spec):
    job = store.create_job(spec)
    outputs = store.list_outputs(job.id)
    assert [(output.position, output.lam, output.name) for output in outputs] == [
        (0, 0.5, "instruct-pad-0.5"),
        (1, 0.0, "instruct-pad-0.0"),
        (2, 1.0, "instruct-pad-1.0"),
    ]
    assert {output.state for output in outputs} == {OutputState.PENDING}
    assert all((output.uri, output.files, output.error) == (None, {}, None) for output in outputs)


def test_outputs_and_progress_of_several_jobs_are_those_of_each(store, spec, running_job):
    merging, _ = running_job(2)
    waiting, unknown = store.create_job(spec).id, JobId("job-none")
    store.publish_output(merging, 1, "s3://models/b", {"config.json": {"size_bytes": 2, "sha256": "ab"}})
    outputs, progress = (ask([merging, waiting, unknown]) for ask in (store.output_summaries, store.progress_of))
    expected = {
        job: [
            OutputSummary(each.position, each.lam, each.name, each.state, each.approval, each.uri, each.ended_at)
            for each in store.list_outputs(job)
        ]
        for job in (merging, waiting)
    }
    assert outputs == expected | {unknown: []}
    assert progress == {job: store.progress(job) for job in (merging, waiting)} | {unknown: Progress(0, 0, 0, 0)}
    assert progress[merging].units_total == 2


def test_nothing_is_asked_of_no_jobs(store):
    assert (store.output_summaries([]), store.progress_of([])) == ({}, {})


def test_a_lambda_at_the_edge_of_float32_reads_back_exactly(store, spec):
    lambdas = (3.4028234663852886e38, -1e-45, 0.1)
    extreme = spec.model_copy(update={"lambdas": lambdas, "allow_extrapolation": True})
    job = store.create_job(MergeSpec.model_validate(extreme.model_dump()))
    assert tuple(output.lam for output in store.list_outputs(job.id)) == lambdas
    assert store.get_job(job.id).spec.lambdas == lambdas


def test_ids_sort_by_age_and_never_meet(store, spec, clock):
    ids = []
    for _ in range(20):
        ids.append(store.create_job(spec).id)
        clock.advance(0.001)
    assert ids == sorted(ids)
    assert len(set(ids)) == 20


def test_jobs_are_listed_newest_first_and_page_by_page(store, spec, clock):
    ids = []
    for _ in range(5):
        ids.append(store.create_job(spec).id)
        clock.advance(1)
    newest_first = ids[::-1]
    assert [job.id for job in store.list_jobs()] == newest_first
    first = store.list_jobs(limit=2)
    second = store.list_jobs(limit=2, before=first[-1].id)
    assert [job.id for job in [*first, *second]] == newest_first[:4]


def test_jobs_are_listed_by_state(store, spec):
    queued, running = store.create_job(spec), run(store, store.create_job(spec))
    assert [job.id for job in store.list_jobs(JobFilter(JobState.QUEUED))] == [queued.id]
    assert [job.id for job in store.list_jobs(JobFilter(JobState.RUNNING))] == [running.id]
    assert store.list_jobs(JobFilter(JobState.FAILED)) == []


def test_running_sets_started_at_and_an_end_sets_finished_at(store, spec, clock):
    job = store.create_job(spec)
    started = clock.advance(5)
    assert run(store, job).started_at == started
    finished = clock.advance(5)
    ended = store.move_job(job.id, JobState.SUCCEEDED, phase=Phase.DONE)
    assert (ended.started_at, ended.finished_at, ended.updated_at) == (started, finished, finished)
    assert store.get_job(job.id) == ended


@pytest.mark.parametrize(
    ("path", "outputs"),
    [
        ([JobState.FAILED], OutputState.FAILED),
        ([JobState.RUNNING, JobState.PARTIALLY_SUCCEEDED], OutputState.FAILED),
        ([JobState.CANCELLED], OutputState.CANCELLED),
        ([JobState.RUNNING, JobState.CANCELLING, JobState.CANCELLED], OutputState.CANCELLED),
    ],
)
def test_the_end_of_a_job_closes_its_pending_outputs_and_leaves_the_others(store, spec, path, outputs):
    job = store.create_job(spec)
    store.publish_output(job.id, 1, "file:///out", {})
    for state in path:
        store.move_job(job.id, state, phase=Phase.DONE)
    assert [output.state for output in store.list_outputs(job.id)] == [outputs, OutputState.PUBLISHED, outputs]


def test_an_error_is_kept_with_the_job_and_told_in_the_event(store, spec):
    job = store.create_job(spec)
    error = {"code": "source_not_found", "message": "no such file \udce4 \x00", "details": {}}
    assert store.move_job(job.id, JobState.FAILED, phase=Phase.DONE, error=error).error == error
    assert store.get_job(job.id).error == error
    assert store.list_events(job.id)[-1].data["error"] == error


def test_every_change_of_state_appends_an_event_named_after_it(store, spec):
    job = run(store, store.create_job(spec))
    store.move_job(job.id, JobState.PARTIALLY_SUCCEEDED, phase=Phase.DONE)
    assert event_types(store, job.id) == ["job.queued", "job.running", "job.partially_succeeded"]
    assert [event.sequence for event in store.list_events(job.id)] == [1, 2, 3]


def test_events_are_read_from_any_point_on_and_in_portions(store, spec):
    job = run(store, store.create_job(spec))
    for phase in (Phase.MERGING, Phase.PUBLISHING, Phase.CLEANING):
        store.set_phase(job.id, phase)
    assert [event.sequence for event in store.list_events(job.id, after=2)] == [3, 4, 5]
    assert [event.sequence for event in store.list_events(job.id, after=1, limit=2)] == [2, 3]
    assert store.list_events(job.id, after=5) == []


def test_a_phase_is_noted_once_and_only_where_the_state_has_phases(store, spec):
    job = store.create_job(spec)
    store.set_phase(job.id, Phase.MERGING)
    assert store.get_job(job.id).phase is Phase.WAITING
    run(store, job)
    store.set_phase(job.id, Phase.MERGING)
    store.set_phase(job.id, Phase.MERGING)
    store.move_job(job.id, JobState.CANCELLING, phase=Phase.MERGING)
    store.set_phase(job.id, Phase.CLEANING)
    store.move_job(job.id, JobState.CANCELLED, phase=Phase.DONE)
    store.set_phase(job.id, Phase.MERGING)
    assert store.get_job(job.id).phase is Phase.DONE
    assert [event.data["phase"] for event in store.list_events(job.id) if event.type == "job.phase"] == [
        "merging",
        "cleaning",
    ]


def test_a_plan_makes_pending_units_and_starts_the_merging(store, spec, clock):
    job = run(store, store.create_job(spec))
    planned_at = clock.advance(7)
    units = store.save_plan(job.id, {"tensors": 3}, [NewUnit({"file": "a"}, 10), NewUnit({"file": "b"}, 1 << 40)])
    assert [(unit.position, unit.state, unit.shard, unit.bytes_total, unit.fence) for unit in units] == [
        (0, UnitState.PENDING, {"file": "a"}, 10, 0),
        (1, UnitState.PENDING, {"file": "b"}, 1 << 40, 0),
    ]
    assert store.list_units(job.id) == units
    planned = store.get_job(job.id)
    assert (planned.plan_summary, planned.phase, planned.merging_at) == ({"tensors": 3}, Phase.MERGING, planned_at)
    assert store.progress(job.id) == Progress(0, 10 + (1 << 40), 0, 2)


def test_a_second_plan_changes_nothing(store, running_job: RunningJob, clock):
    job_id, units = running_job(2)
    before, events = store.get_job(job_id), store.list_events(job_id)
    clock.advance(1)
    assert store.save_plan(job_id, {"other": 1}, [NewUnit({}, 1)]) == units
    assert store.get_job(job_id) == before
    assert store.list_events(job_id) == events


def test_a_plan_without_units_counts_as_a_plan(store, spec):
    job = run(store, store.create_job(spec))
    assert store.save_plan(job.id, {}, []) == []
    assert store.save_plan(job.id, {}, [NewUnit({}, 1)]) == []


@pytest.mark.parametrize("path", [[], [JobState.CANCELLED], [JobState.RUNNING, JobState.CANCELLING]])
def test_only_a_running_job_takes_a_plan(store, spec, path):
    job = store.create_job(spec)
    for state in path:
        store.move_job(job.id, state, phase=Phase.PLANNING)
    with pytest.raises(IllegalTransition, match="only a RUNNING job takes a plan"):
        store.save_plan(job.id, {}, [])


def test_progress_is_zero_before_the_plan(store, spec):
    assert store.progress(store.create_job(spec).id) == Progress(0, 0, 0, 0)


def test_an_output_is_published_once(store, spec):
    job = store.create_job(spec)
    files = {"model.safetensors": {"size_bytes": 10, "sha256": "ab"}}
    store.publish_output(job.id, 2, "file:///out/c", files)
    store.publish_output(job.id, 2, "file:///elsewhere", {})
    output = store.list_outputs(job.id)[2]
    assert (output.state, output.uri, output.files) == (OutputState.PUBLISHED, "file:///out/c", files)
    (event,) = store.list_events(job.id, after=1)
    assert event.type == "output.published"
    assert event.data == {"position": 2, "lambda": 1.0, "name": "instruct-pad-1.0", "uri": "file:///out/c"}


@pytest.mark.parametrize("realised", [0.027, None])
def test_what_an_outputs_lambda_really_did_is_kept_and_told(store, spec, realised):
    job = store.create_job(spec)
    statistics = {"method": "exact", "requested": 0.1, "realised": realised, "warnings": ["λ = 0.1 was realised as …"]}
    store.publish_output(job.id, 1, "file:///out/b", {}, statistics=statistics)
    assert [output.statistics for output in store.list_outputs(job.id)] == [None, statistics, None]
    (event,) = store.list_events(job.id, after=1)
    assert (event.data["realised"], event.data["warnings"]) == (realised, statistics["warnings"])
    assert "method" not in event.data


def test_only_a_pending_output_fails(store, spec):
    job = store.create_job(spec)
    store.publish_output(job.id, 0, "file:///out", {})
    store.fail_output(job.id, 0, {"code": "sink_error"})
    store.fail_output(job.id, 1, {"code": "output_exists"})
    store.publish_output(job.id, 1, "file:///late", {})
    outputs = store.list_outputs(job.id)
    assert [output.state for output in outputs] == [OutputState.PUBLISHED, OutputState.FAILED, OutputState.PENDING]
    assert (outputs[1].error, outputs[1].uri) == ({"code": "output_exists"}, None)
    assert event_types(store, job.id) == ["job.queued", "output.published", "output.failed"]


def test_an_output_that_the_job_does_not_have_is_a_bug_and_not_an_absence(store, spec):
    with pytest.raises(NoResultFound):
        store.publish_output(store.create_job(spec).id, 99, "file:///out", {})


def test_unfinished_jobs_count_as_idle_after_a_while(store, spec, clock):
    queued, running = store.create_job(spec), run(store, store.create_job(spec))
    cancelling = run(store, store.create_job(spec))
    store.move_job(cancelling.id, JobState.CANCELLING, phase=Phase.CLEANING)
    store.move_job(store.create_job(spec).id, JobState.FAILED, phase=Phase.DONE)
    clock.advance(9)
    assert store.idle_jobs(10) == []
    clock.advance(1)
    assert {job.id for job in store.idle_jobs(10)} == {queued.id, running.id, cancelling.id}
    assert len(store.idle_jobs(10, limit=2)) == 2
    store.touch_job(queued.id)
    assert {job.id for job in store.idle_jobs(10)} == {running.id, cancelling.id}


def test_work_on_a_unit_keeps_its_job_from_being_idle(store, running_job: RunningJob, clock: FakeClock):
    job_id, (unit, _) = running_job(2)

    def idle_after_ten_seconds() -> bool:
        clock.advance(9)
        assert store.idle_jobs(10) == []
        clock.advance(1)
        return [job.id for job in store.idle_jobs(10)] == [job_id]

    assert idle_after_ten_seconds()
    store.claim_unit(unit.id, "w", 600)
    assert idle_after_ten_seconds()
    store.renew_lease(unit.id, 1, 600, 50)
    assert idle_after_ten_seconds()
    store.complete_unit(unit.id, 1, {})
    assert idle_after_ten_seconds()


def test_every_change_moves_updated_at(store, running_job: RunningJob, clock: FakeClock):
    job_id, (unit,) = running_job(1)
    changes = [
        lambda: store.claim_unit(unit.id, "w", 600),
        lambda: store.set_phase(job_id, Phase.PUBLISHING),
        lambda: store.complete_unit(unit.id, 1, {}),
        lambda: store.publish_output(job_id, 0, "file:///out", {}),
        lambda: store.fail_output(job_id, 1, {}),
        lambda: store.touch_job(job_id),
        lambda: store.move_job(job_id, JobState.SUCCEEDED, phase=Phase.DONE),
    ]
    for change in changes:
        now = clock.advance(1)
        change()
        assert store.get_job(job_id).updated_at == now


def test_an_unknown_job_is_not_found_by_any_method(store):
    unknown = JobId("job-0")
    calls = [
        store.get_job,
        store.list_outputs,
        store.list_units,
        store.list_events,
        store.progress,
        store.live_leases,
        store.touch_job,
        lambda job_id: store.move_job(job_id, JobState.RUNNING, phase=Phase.PLANNING),
        lambda job_id: store.set_phase(job_id, Phase.MERGING),
        lambda job_id: store.save_plan(job_id, {}, []),
        lambda job_id: store.publish_output(job_id, 0, "file:///out", {}),
        lambda job_id: store.fail_output(job_id, 0, {}),
    ]
    for call in calls:
        with pytest.raises(JobNotFound, match="job-0"):
            call(unknown)


def test_a_time_without_a_zone_is_refused(engine: Engine, spec):
    class NaiveClock:
        def now(self):
            return FakeClock().now().replace(tzinfo=None)

    with pytest.raises(Exception, match="has no zone"):
        SqlJobStore(engine, NaiveClock()).create_job(spec)


def test_a_lease_in_another_zone_is_the_same_instant(store, running_job: RunningJob, clock: FakeClock):
    _, (unit,) = running_job(1)
    leased = store.claim_unit(unit.id, "w", 30)
    assert leased.lease_expires_at == clock.now() + timedelta(seconds=30)
    assert leased.lease_expires_at.tzinfo is UTC


def test_jobs_are_listed_by_what_they_are_of(store, spec):
    plain = store.create_job(spec, Submission("alice"))
    other = store.create_job(
        spec.model_copy(update={"base": "hf://acme/base@main", "destination": "hub", "labels": {"a/b.c-d": "x=y"}})
    )
    chain = MergeSpec.model_validate(
        {**spec.model_dump(), "instruct": {"delta_of": ["local://models/a", "local://models/b"]}}
    )
    store.create_job(chain)

    def found(**only):
        return [job.id for job in store.list_jobs(JobFilter(**only))]

    assert found(submitted_by="alice") == [plain.id]
    assert found(base="hf://acme/base@main") == [other.id]
    assert found(destination="hub") == [other.id]
    assert found(labels={"a/b.c-d": "x=y"}) == [other.id]
    assert found(labels={"team": "größer"}, submitted_by="alice") == [plain.id]
    assert found(labels={"team": "other"}) == []
    assert set(found(instruct=spec.instruct)) == {plain.id, other.id}
    assert found(instruct="local://models/a") == []
    assert found(state=JobState.RUNNING, submitted_by="alice") == []
