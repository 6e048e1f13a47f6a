"""The store of jobs as a port, and what goes into it and comes out beside jobs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from crossfade_core.approval import Decision
from crossfade_core.job import Event, Job, JobId, JobState, Output, OutputSummary, Phase, Progress, Unit, UnitId
from crossfade_core.spec import MergeSpec


@dataclass(frozen=True)
class Kept:
    """What the store keeps of a STAGED output until it is published.

    Attributes:
        contents: By SHA-256, what its sink cannot keep.
        inputs: Of every source, by role, its pinned `uri` and the `files` that were read.
    """

    contents: Mapping[str, bytes] = field(default_factory=dict)
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class NewUnit:
    """A unit as the plan makes it, before the store gives it an id."""

    shard: dict[str, Any]
    bytes_total: int


@dataclass(frozen=True)
class IdempotentRequest:
    """A submission that can be sent again.

    Attributes:
        caller: The caller's name.
        key: What the caller chose.
        body_digest: Of what was asked for.
        attempt: Different each time the request is sent; only the one that began it answers or drops it.
    """

    caller: str
    key: str
    body_digest: str
    attempt: str


@dataclass(frozen=True)
class Submission:
    """What comes with a spec when it is submitted.

    Attributes:
        submitted_by: Name of the caller; where it is a key's, the key's limit holds.
        merge_digest: What makes the job the same as another.
        request: Noted as answered by the job, in the same transaction.
    """

    submitted_by: str | None = None
    merge_digest: str | None = None
    request: IdempotentRequest | None = None


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list: those of which everything that is given here is true.

    Attributes:
        state: Their state.
        base: The URI of their base, as the spec has it.
        instruct: The URI of their instruct side; A of a chain is none.
        destination: Where they publish.
        submitted_by: Who submitted them.
        labels: Labels they have with these values.
    """

    state: JobState | None = None
    base: str | None = None
    instruct: str | None = None
    destination: str | None = None
    submitted_by: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Throughput:
    """What jobs have measured: bytes of their outputs, and the time from their plan to their end.

    Attributes:
        jobs: How many.
        written_bytes: Of shards, over all λ of all of them.
        seconds: Over all of them; above 0.
    """

    jobs: int
    written_bytes: int
    seconds: float


class JobStore(Protocol):
    """The truth about jobs. Every method is one transaction; every change of state also appends an event.

    What callers do, and what is published for them, goes into the audit log (`crossfade_core.audit`) with it.

    All methods raise StoreUnavailable when the database is away, and JobNotFound for an unknown job.
    """

    def create_job(self, spec: MergeSpec, submission: Submission | None = None) -> Job:
        """Store a QUEUED job (phase `waiting`) with one PENDING output per λ; event `job.queued`.

        Raises:
            AlreadyUnderWay: An unfinished job has its merge digest, and it is not to be made afresh.
            QueueLimitReached: The key has as many unfinished jobs as it may have; those that only wait for approval
                are not counted.
        """

    def begin_request(self, request: IdempotentRequest) -> JobId | None:
        """Return the job that answered a request within the last 24 hours; None where it is now the caller's to answer.

        Raises:
            IdempotencyMismatch: The key came with another body.
            RequestInFlight: The same request is being answered at this moment.
        """

    def answer_request(self, request: IdempotentRequest, job_id: JobId) -> None:
        """Note that an earlier job answers a request that was begun."""

    def drop_request(self, request: IdempotentRequest) -> None:
        """Forget a request that was begun and refused; does nothing once it is answered."""

    def forget_requests(self) -> None:
        """Forget the requests of more than 24 hours ago."""

    def find_merge(self, merge_digest: str) -> Job | None:
        """Return the newest job of a merge digest that is QUEUED, RUNNING or SUCCEEDED."""

    def check_limit(self, name: str | None) -> None:
        """See whether the key of that name may have one more unfinished job at this moment; `create_job` sees again.

        Raises:
            QueueLimitReached: It may not.
        """

    def throughput(self, destination: str) -> Throughput | None:
        """Return what the newest SUCCEEDED jobs measured, twenty at most; None where there is none.

        They are jobs of the destination where any of the newest 200 is; jobs that were retried are left out, since
        they have waited for somebody in between. Of jobs that waited for approval the time until then counts.
        """

    def get_job(self, job_id: JobId) -> Job: ...

    def list_jobs(
        self, wanted: JobFilter | None = None, *, limit: int = 50, before: JobId | None = None
    ) -> Sequence[Job]:
        """Return jobs that pass the filter, newest first, older than `before` (ids sort by age); without plans."""

    def list_outputs(self, job_id: JobId) -> Sequence[Output]:
        """Return the outputs in the order of the spec's λ list."""

    def output_summaries(self, job_ids: Sequence[JobId]) -> Mapping[JobId, Sequence[OutputSummary]]:
        """Return of several jobs at once what is told of their outputs in a list; nothing of an unknown job."""

    def list_units(self, job_id: JobId) -> Sequence[Unit]:
        """Return the units by position."""

    def list_events(self, job_id: JobId, *, after: int = 0, limit: int = 200) -> Sequence[Event]:
        """Return events with `sequence > after`, oldest first."""

    def progress(self, job_id: JobId) -> Progress: ...

    def progress_of(self, job_ids: Sequence[JobId]) -> Mapping[JobId, Progress]:
        """Return the progress of several jobs at once; that of an unknown job is 0 of 0."""

    def move_job(
        self,
        job_id: JobId,
        state: JobState,
        *,
        phase: Phase,
        error: Mapping[str, Any] | None = None,
        staged_until: datetime | None = None,
        by: str | None = None,
    ) -> Job:
        """Move a job along the table of transitions, compare-and-set; event `job.<state>` in lower case.

        Entering RUNNING sets `started_at`; a terminal state sets `finished_at` and `staged_until`, and turns outputs
        that are still PENDING or STAGED into FAILED (job FAILED or PARTIALLY_SUCCEEDED) or CANCELLED (job CANCELLED).
        `by` names the caller who cancels; it sets `cancel_requested_at`.

        Raises:
            IllegalTransition: The table does not join the job's present state to `state`.
        """

    def retry_job(self, job_id: JobId, by: str | None = None) -> Job:
        """Queue a FAILED or PARTIALLY_SUCCEEDED job again; event `job.retried` with the units kept, and by whom.

        Its failed outputs are PENDING again, its units have no failures and no deaths; those that are DONE stay so if
        what they staged is kept (until `staged_until`), else they are PENDING; those still worked on are taken from
        their holders. Its deadline begins anew.

        Raises:
            IllegalTransition: It is in another state.
            AlreadyUnderWay: An unfinished job has its merge digest, and it is not one to be made afresh.
            QueueLimitReached: Its submitter's key has as many unfinished jobs as it may have.
        """

    def staged_jobs(self, idle_seconds: float, limit: int = 100) -> Sequence[Job]:
        """Return ended jobs whose `staged_until` is over, longest over first; none updated within `idle_seconds`."""

    def forget_staged(self, job_id: JobId) -> None:
        """Note that nothing is left of what a job had staged."""

    def set_phase(self, job_id: JobId, phase: Phase) -> None:
        """Note the phase of a RUNNING or CANCELLING job; does nothing in other states; event `job.phase` on change."""

    def save_plan(
        self, job_id: JobId, summary: Mapping[str, Any], units: Sequence[NewUnit], *, merge_digest: str | None = None
    ) -> Sequence[Unit]:
        """Store the plan of a RUNNING job that has none, its units and phase `merging` (sets `merging_at`).

        The merge digest, where given, replaces the one it was submitted with: what was pinned then may have moved.
        A job that has a plan keeps it: the stored units are returned (a doubled plan message changes nothing).

        Raises:
            IllegalTransition: The job is not RUNNING.
        """

    def claim_unit(self, unit_id: UnitId, owner: str, lease_seconds: float) -> Unit | None:
        """Lease a unit of a RUNNING job: PENDING and due, or RUNNING with an expired lease, which counts as a death.

        Its fence rises by one, `bytes_done` is 0 again; event `unit.started`.

        Returns:
            The unit as leased, or None when there is nothing to do: done, leased by another, not due, unknown, or its
            job not RUNNING.
        """

    def more_urgent_unit(self, unit_id: UnitId) -> UnitId | None:
        """Return a PENDING unit to begin before this one, or None.

        It is of another RUNNING job: one of higher priority, or of the same with fewer units under way; of those the
        oldest.
        """

    def renew_lease(self, unit_id: UnitId, fence: int, lease_seconds: float, bytes_done: int) -> None:
        """Extend the lease and note progress.

        Raises:
            LeaseLost: `fence` is no longer the unit's newest, or the unit is not RUNNING.
            JobCancelled: The job left RUNNING.
        """

    def complete_unit(self, unit_id: UnitId, fence: int, result: Mapping[str, Any]) -> int:
        """Mark the unit DONE with its result; event `unit.done`. Return how many of the job's units are not DONE.

        Raises:
            LeaseLost: As for `renew_lease`.
        """

    def release_unit(self, unit_id: UnitId, fence: int) -> bool:
        """Give an unfinished unit back: PENDING, no lease. False, and nothing done, when the fence is stale."""

    def fail_unit(self, unit_id: UnitId, fence: int, wait_seconds: float, error: Mapping[str, Any]) -> None:
        """Give a unit back that failed, to be claimed again in `wait_seconds`; event `unit.failed` with the error.

        Does nothing when the fence is stale, or the job has ended.
        """

    def expire_unit(self, unit_id: UnitId, fence: int) -> bool:
        """Take a unit from a holder that fell silent; event `unit.lost`. False, and nothing done, where it renewed."""

    def due_units(self, limit: int = 100) -> Sequence[Unit]:
        """Return PENDING units of RUNNING jobs whose wait is over; each is returned once."""

    def publish_output(
        self,
        job_id: JobId,
        position: int,
        uri: str,
        files: Mapping[str, Mapping[str, Any]],
        *,
        statistics: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Mark a PENDING or STAGED output PUBLISHED; does nothing the second time.

        Event `output.published`, with `realised` and `warnings` of the statistics where there are any. With the
        `inputs`, by role the pinned `uri` of each source and the `files` that were read, it goes into the lineage graph
        (`crossfade_core.lineage_graph`); those of a STAGED output were kept with it.
        """

    def keep_signature(self, job_id: JobId, position: int, digest: str, signature: str) -> str:
        """Keep the first signature that was made of a payload (known by `digest`) for an output, and return it.

        Keys need not sign the same twice; what is staged again after a crash must be the same bytes.
        """

    def delay_output(self, job_id: JobId, position: int, error: Mapping[str, Any]) -> int:
        """Note that publishing an output failed for now, and return how often it has; a retry counts anew.

        Event `output.delayed` with the error.
        """

    def fail_output(self, job_id: JobId, position: int, error: Mapping[str, Any]) -> None:
        """Mark a PENDING or STAGED output FAILED; event `output.failed`."""

    def stage_output(
        self,
        job_id: JobId,
        position: int,
        files: Mapping[str, Mapping[str, Any]],
        *,
        statistics: Mapping[str, Any] | None = None,
        kept: Kept | None = None,
    ) -> None:
        """Mark a PENDING output STAGED, until somebody decides; does nothing the second time. Event `output.staged`."""

    def decide_output(self, job_id: JobId, position: int, decision: Decision) -> Output:
        """Note what was decided about an output, in the audit log too; event `output.approved` or `output.rejected`.

        A STAGED output that is rejected becomes FAILED, with OutputRejected. The same decision with the same reason
        changes nothing.

        Raises:
            OutputNotFound: The job has no such output.
            IllegalTransition: There is nothing to decide about; see `crossfade_core.approval.DECISIONS`.
            LineageDiffers: The decision is about another content.
        """

    def held_contents(self, job_id: JobId, digests: Iterable[str]) -> Mapping[str, bytes]:
        """Return, by SHA-256, those of these contents that are kept for a job."""

    def live_leases(self, job_id: JobId) -> int:
        """Return how many of the job's units are RUNNING with a lease that has not expired."""

    def expired_units(self, limit: int = 100) -> Sequence[Unit]:
        """Return RUNNING units of RUNNING jobs whose lease has expired."""

    def idle_jobs(self, idle_seconds: float, limit: int = 100) -> Sequence[Job]:
        """Return unfinished jobs (QUEUED, RUNNING, CANCELLING) not updated for `idle_seconds`.

        A job that waits for somebody's approval, and for nothing else, is not one of them.
        A job counts as updated when its own row, or a unit of it, was (claimed, renewed, completed).
        """

    def overdue_jobs(self, limit: int = 100) -> Sequence[Job]:
        """Return QUEUED and RUNNING jobs whose deadline has come, but those that publish what was approved in time."""

    def lease_job(self, job_id: JobId, owner: str, lease_seconds: float) -> bool:
        """Take or renew the control lease of a job, so that planning and publishing happen in one process at a time.

        Returns:
            False when another owner holds an unexpired lease.
        """

    def release_job(self, job_id: JobId, owner: str) -> None:
        """Give the control lease back; does nothing when `owner` does not hold it."""

    def touch_job(self, job_id: JobId) -> None:
        """Set `updated_at` to now, so that `idle_jobs` leaves the job alone for a while."""

    def ping(self) -> None:
        """Reach the database, and find its schema at the version this code expects, or raise StoreUnavailable."""
