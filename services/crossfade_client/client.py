"""The client of the REST API: one method per call, and waiting for a job to end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self, TypedDict, Unpack
from urllib.parse import quote

from crossfade_client.audit_views import AuditPage
from crossfade_client.connection import Connection, Request
from crossfade_client.key_views import KeyList, KeyView, NewKeyView
from crossfade_client.lineage_views import LineageGraphView
from crossfade_client.plan_views import PlanReport
from crossfade_client.server_events import ServerEvent
from crossfade_client.views import JobPage, JobSummary, JobView, Progress
from crossfade_client.watch import ABSENCE_SECONDS, Watch
from crossfade_client.webhook_calls import WebhookCalls
from crossfade_core.spec import MergeSpec

_PAGE = 50


class JobFilter(TypedDict, total=False):
    """Which jobs to list; those for which all of it is so."""

    state: str | None
    base: str | None
    instruct: str | None
    destination: str | None
    submitted_by: str | None
    labels: Mapping[str, str]


class AuditFilter(TypedDict, total=False):
    """Which entries of the audit log; those for which all of it is so. Times in ISO 8601 with their zone."""

    actor: str | None
    action: str | None
    subject: str | None
    since: str | None
    until: str | None


class Client:
    """A connection to one crossfade service; use it as a context manager. Threads may share it.

    Every call raises `Reported` when the service refuses (its `code`, `blame` and `retryable` are the service's own,
    its `record` is the whole problem) and `ServiceUnreachable` when none answers. No message holds the token.

    Args:
        url: Where the service is, such as http://127.0.0.1:8000.
        token: Sent as a bearer token when given.
        patience_seconds: How long to send a question, or a submission with an idempotency key, again when the
            connection is lost or the service asks for patience (429, 503, `Retry-After`).

    Raises:
        ServiceUnreachable: The URL or the token is malformed.

    Attributes:
        webhooks: The calls about webhooks.
    """

    def __init__(self, url: str, token: str | None = None, *, patience_seconds: float = 0) -> None:
        self._connection = Connection(url, token, patience_seconds)
        self.webhooks = WebhookCalls(self._connection)

    @property
    def url(self) -> str:
        """Where the service is, without a name and password."""
        return self._connection.url

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; `with` does it too."""
        self._connection.close()

    def submit(self, spec: MergeSpec | Mapping[str, object], *, idempotency_key: str | None = None) -> JobView:
        """Submit a job; the service fills in what `spec` leaves out.

        Args:
            spec: The job.
            idempotency_key: Sent again with the same spec within a day, it gets the same job. Give one to have a
                submission sent again whose answer was lost.

        Raises:
            Reported: The service refused it: malformed, unreadable sources, tensors that do not pair, output exists.
            ServiceUnreachable: No service answers.
        """
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._connection.call(Request("POST", "/v1/merges", body=_body(spec), headers=headers), JobView)

    def plan(self, spec: MergeSpec | Mapping[str, object]) -> PlanReport:
        """Return what a submission of `spec` would do, and everything it would be refused for; nothing is stored.

        Raises:
            Reported: Nothing can be planned: the spec is malformed, or a source cannot be read.
            ServiceUnreachable: No service answers.
        """
        return self._connection.call(Request("POST", "/v1/plans", body=_body(spec), is_question=True), PlanReport)

    def get(self, job_id: str) -> JobView:
        """Return a job as it stands.

        Raises:
            Reported: There is no such job.
            ServiceUnreachable: No service answers.
        """
        return self._connection.call(Request("GET", _path(job_id)), JobView)

    def list_jobs(self, *, limit: int = _PAGE, page: str | None = None, **wanted: Unpack[JobFilter]) -> JobPage:
        """Return one page of jobs, newest first.

        Args:
            limit: At most so many.
            page: `next` of the page before, with the same `wanted`; None for the first.
            wanted: Which jobs, by the fields of `JobFilter`.

        Raises:
            Reported: An argument is refused.
            ServiceUnreachable: No service answers.
        """
        labels = [f"{name}={value}" for name, value in wanted.pop("labels", {}).items()]
        asked = {**wanted, "limit": limit, "page": page, "label": labels or None}
        params = {name: value for name, value in asked.items() if isinstance(value, str | int | list)}
        return self._connection.call(Request("GET", "/v1/merges", params=params), JobPage)

    def jobs(self, **wanted: Unpack[JobFilter]) -> Iterator[JobSummary]:
        """Yield all jobs, newest first, asking for a page when it is needed.

        Raises:
            Reported: An argument is refused.
            ServiceUnreachable: No service answers.
        """
        page = self.list_jobs(**wanted)
        yield from page.items
        while page.next is not None:
            page = self.list_jobs(page=page.next, **wanted)
            yield from page.items

    def cancel(self, job_id: str) -> JobView:
        """Ask for a job to be cancelled and return it as it stands.

        Raises:
            Reported: There is no such job, or it has ended.
            ServiceUnreachable: No service answers.
        """
        return self._connection.call(Request("POST", f"{_path(job_id)}/cancel"), JobView)

    def retry(self, job_id: str) -> JobView:
        """Queue a failed job again and return it as it stands.

        Raises:
            Reported: There is no such job, or it has not failed.
            ServiceUnreachable: No service answers.
        """
        return self._connection.call(Request("POST", f"{_path(job_id)}/retry"), JobView)

    def approve(
        self, job_id: str, position: int, *, reason: str | None = None, lineage_sha256: str | None = None
    ) -> JobView:
        """Approve an output: one that waits is published as it was staged, a published one is marked.

        Args:
            job_id: The job.
            position: The output's place in its λ list, from 0 on; `OutputView.position`.
            reason: Why, in one line.
            lineage_sha256: Digest of the lineage.json that was looked at; refused if it is another now.

        Raises:
            Reported: There is no such output, nothing to decide about, another content; or this caller may not.
            ServiceUnreachable: No service answers.
        """
        return self._decide(job_id, position, "approve", {"reason": reason, "lineage_sha256": lineage_sha256})

    def reject(self, job_id: str, position: int, *, reason: str, lineage_sha256: str | None = None) -> JobView:
        """Reject an output: one that waits is never published, a published one is marked and stays.

        Args:
            job_id: The job.
            position: The output's place in its λ list, from 0 on.
            reason: Why, in one line.
            lineage_sha256: As for `approve`.

        Raises:
            Reported: As for `approve`.
            ServiceUnreachable: No service answers.
        """
        return self._decide(job_id, position, "reject", {"reason": reason, "lineage_sha256": lineage_sha256})

    def events(self, job_id: str, last_event_id: str | None = None) -> Iterator[ServerEvent]:
        """Yield a job's events as they happen, until its last one. `wait` follows them through lost connections.

        Args:
            job_id: The job.
            last_event_id: The last event already seen; the stream goes on behind it.

        Raises:
            Reported: The service refused.
            ServiceUnreachable: The connection dropped, or nothing came for 20 s; call again with the last id.
        """
        return self._connection.stream(f"{_path(job_id)}/events", last_event_id)

    def wait(
        self,
        job_id: str,
        *,
        timeout_seconds: float | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_waiting: Callable[[JobView], None] | None = None,
        until_staged: bool = False,
        absence_seconds: float = ABSENCE_SECONDS,
    ) -> JobView:
        """Return a job once it has ended, however: `require_success()` of what is returned raises if it failed.

        A job whose outputs wait for approval has not ended.

        Args:
            job_id: The job.
            timeout_seconds: How long to wait; None for as long as it takes.
            on_progress: Told how far the job is, whenever that is known anew.
            on_waiting: Told the job when it begins to wait for approval.
            until_staged: Return a job too that waits for approval: all of it is staged, and some of it undecided.
            absence_seconds: How long the service may be away on the way.

        Raises:
            Reported: The service refused: no such job, no valid token.
            ServiceUnreachable: Nobody answered for `absence_seconds`; at first for the client's `patience_seconds`.
            WaitTimedOut: The job has not ended in time; it goes on.
        """
        show = on_progress or (lambda far: None)
        watch = Watch(
            self._connection, _path(job_id), show, absence_seconds=absence_seconds, timeout_seconds=timeout_seconds
        )
        return watch.until_end(on_waiting=on_waiting, until_staged=until_staged)

    def lineage(
        self, *, digest: str | None = None, uri: str | None = None, depth: int | None = None
    ) -> LineageGraphView:
        """Return what a checkpoint was made of, and what was made of it; name it by one of the two.

        Args:
            digest: SHA-256, in hex, of any file of it; or its own, `checkpoint` of an earlier answer.
            uri: Where it lies, as a job shows it; of the Hub without any revision for all commits.
            depth: How many merges to follow either way; None for what the service does.

        Raises:
            Reported: Nothing that the service published or read is known by it, or an argument is refused.
            ServiceUnreachable: No service answers.
        """
        asked = {"digest": digest, "uri": uri, "depth": depth}
        params = {name: value for name, value in asked.items() if isinstance(value, str | int)}
        return self._connection.call(Request("GET", "/v1/lineage", params=params), LineageGraphView)

    def create_key(
        self,
        name: str,
        *,
        scopes: Sequence[str] | None = None,
        max_jobs: int | None = None,
        requests_per_minute: int | None = None,
        expires_at: datetime | None = None,
    ) -> NewKeyView:
        """Make an API key; its secret is in the answer, and never again.

        Args:
            name: Who carries it.
            scopes: What it may do: read, submit, cancel, approve, admin; the first three unless given.
            max_jobs: How many of its jobs may be unfinished at a time; None for any number.
            requests_per_minute: How often it may call; None for what the service lets every key.
            expires_at: From then on it opens nothing; a time with its zone.

        Raises:
            Reported: The name is taken, a field is wrong, or this caller may not administer.
            ServiceUnreachable: No service answers.
        """
        asked: dict[str, object] = {"name": name, "max_jobs": max_jobs, "requests_per_minute": requests_per_minute}
        if scopes is not None:
            asked["scopes"] = list(scopes)
        if expires_at is not None:
            asked["expires_at"] = expires_at.isoformat()
        return self._connection.call(Request("POST", "/v1/keys", body=asked), NewKeyView)

    def list_keys(self) -> KeyList:
        """Return all API keys by name.

        Raises:
            Reported: This caller may not administer.
            ServiceUnreachable: No service answers.
        """
        return self._connection.call(Request("GET", "/v1/keys"), KeyList)

    def revoke_key(self, name: str) -> KeyView:
        """Revoke an API key for good.

        Raises:
            Reported: There is no such key, or this caller may not administer.
            ServiceUnreachable: No service answers.
        """
        return self._connection.call(Request("DELETE", f"/v1/keys/{quote(name, safe='')}"), KeyView)

    def audit(self, *, limit: int = _PAGE, page: str | None = None, **wanted: Unpack[AuditFilter]) -> AuditPage:
        """Return one page of the audit log, newest first.

        Args:
            limit: At most so many.
            page: `next` of the page before.
            wanted: Which entries, by the fields of `AuditFilter`.

        Raises:
            Reported: This caller may not administer, or an argument is refused.
            ServiceUnreachable: No service answers.
        """
        asked = {**wanted, "limit": limit, "page": page}
        params = {name: value for name, value in asked.items() if isinstance(value, str | int)}
        return self._connection.call(Request("GET", "/v1/audit", params=params), AuditPage)

    def _decide(self, job_id: str, position: int, verb: str, asked: Mapping[str, str | None]) -> JobView:
        said = {name: value for name, value in asked.items() if value is not None}
        path = f"{_path(job_id)}/outputs/{position}/{verb}"
        return self._connection.call(Request("POST", path, body=said, is_idempotent=True), JobView)


def _body(spec: MergeSpec | Mapping[str, object]) -> Mapping[str, object]:
    return spec.model_dump(mode="json", exclude_unset=True) if isinstance(spec, MergeSpec) else spec


def _path(job_id: str) -> str:
    return f"/v1/merges/{quote(job_id, safe='')}"
