"""A client of the REST API: one method per call, errors as `Reported` (the service said no) or `ServiceUnreachable`."""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from crossfade_cli.server_events import ServerEvent, read_events
from crossfade_cli.views import JobPage, JobView, KeyList, KeyView, PlanReport
from crossfade_core.errors import Reported, ServiceUnreachable

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 60.0
"""A submission reads both checkpoints' headers before it is answered."""
_STREAM_SILENCE_SECONDS = 20.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_Answer = TypeVar("_Answer", bound=BaseModel)


class Client:
    """A connection to one crossfade service; use it as a context manager.

    Args:
        url: Where the service is, such as http://127.0.0.1:8000.
        token: Sent as a bearer token when given.

    Raises:
        ServiceUnreachable: The URL is malformed.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        try:
            host = httpx.URL(self.url).host
            self._http = httpx.Client(
                base_url=self.url,
                headers={"Authorization": f"Bearer {token}"} if token else {},
                timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
                trust_env=host not in _LOOPBACK,  # a proxy cannot reach this machine's own loopback
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise ServiceUnreachable(f"{url!r} or the token cannot be used: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def submit(self, spec: Mapping[str, object], idempotency_key: str | None = None) -> JobView:
        """Submit a job; the service fills in what `spec` leaves out.

        Args:
            spec: The job.
            idempotency_key: Sent again with the same spec within a day, it gets the same job.

        Raises:
            Reported: The service refused it: malformed, unreadable sources, tensors that do not pair, output exists.
            ServiceUnreachable: No service answers.
        """
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._call("POST", "/v1/merges", JobView, body=spec, headers=headers)

    def plan(self, spec: Mapping[str, object]) -> PlanReport:
        """Return what a submission of `spec` would do, and everything it would be refused for; nothing is stored.

        Raises:
            Reported: Nothing can be planned: the spec is malformed, or a source cannot be read.
            ServiceUnreachable: No service answers.
        """
        return self._call("POST", "/v1/plans", PlanReport, body=spec)

    def get(self, job_id: str) -> JobView:
        """Return a job as it stands.

        Raises:
            Reported: There is no such job.
            ServiceUnreachable: No service answers.
        """
        return self._call("GET", _path(job_id), JobView)

    def list_jobs(
        self, *, limit: int = 20, before: str | None = None, label: Sequence[str] = (), **only: str | None
    ) -> JobPage:
        """Return jobs, newest first.

        Args:
            limit: At most so many.
            before: Only jobs older than the one of this id.
            label: Only jobs with all of these, NAME=VALUE.
            only: Only jobs of this `state`, `base`, `instruct`, `destination`, `submitted_by`.

        Raises:
            Reported: An argument is refused.
            ServiceUnreachable: No service answers.
        """
        asked = {**only, "limit": limit, "before": before, "label": label or None}
        params = {name: value for name, value in asked.items() if value is not None}
        return self._call("GET", "/v1/merges", JobPage, params=params)

    def cancel(self, job_id: str) -> JobView:
        """Ask for a job to be cancelled and return it as it stands.

        Raises:
            Reported: There is no such job, or it has ended.
            ServiceUnreachable: No service answers.
        """
        return self._call("POST", f"{_path(job_id)}/cancel", JobView)

    def retry(self, job_id: str) -> JobView:
        """Queue a failed job again and return it as it stands.

        Raises:
            Reported: There is no such job, or it has not failed.
            ServiceUnreachable: No service answers.
        """
        return self._call("POST", f"{_path(job_id)}/retry", JobView)

    def create_key(self, key: Mapping[str, object]) -> KeyView:
        """Make an API key; its secret is in the answer, and never again.

        Raises:
            Reported: The name is taken, a field is wrong, or this caller may not administer.
            ServiceUnreachable: No service answers.
        """
        return self._call("POST", "/v1/keys", KeyView, body=key)

    def list_keys(self) -> KeyList:
        """Return all API keys by name.

        Raises:
            Reported: This caller may not administer.
            ServiceUnreachable: No service answers.
        """
        return self._call("GET", "/v1/keys", KeyList)

    def revoke_key(self, name: str) -> KeyView:
        """Revoke an API key for good.

        Raises:
            Reported: There is no such key, or this caller may not administer.
            ServiceUnreachable: No service answers.
        """
        return self._call("DELETE", f"/v1/keys/{quote(name, safe='')}", KeyView)

    def events(self, job_id: str, last_event_id: str | None = None) -> Iterator[ServerEvent]:
        """Yield a job's events as they happen, until its last one.

        Args:
            job_id: The job.
            last_event_id: The last event already seen; the stream goes on behind it.

        Raises:
            Reported: The service refused.
            ServiceUnreachable: The connection dropped, or nothing came for 20 s; call again with the last id.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
        timeout = httpx.Timeout(_STREAM_SILENCE_SECONDS, connect=_CONNECT_SECONDS)
        try:
            with self._http.stream("GET", f"{_path(job_id)}/events", headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    raise _refusal(response)
                yield from read_events(response.iter_bytes())
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        except ValueError as error:
            raise ServiceUnreachable(f"{self.url} does not speak crossfade's event stream: {error}") from error

    def _call(
        self,
        method: str,
        path: str,
        answer: type[_Answer],
        *,
        params: Mapping[str, str | int | Sequence[str]] | None = None,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _Answer:
        try:
            response = self._http.request(method, path, params=params, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if not response.is_success:
            raise _refusal(response)
        try:
            return answer.model_validate_json(response.content)
        except ValidationError as error:
            raise ServiceUnreachable(
                f"{self.url} does not answer like a crossfade service ({error.error_count()} fields are wrong); "
                "check --url"
            ) from error

    def _unreachable(self, error: httpx.HTTPError) -> ServiceUnreachable:
        return ServiceUnreachable(
            f"no crossfade service answers at {self.url} ({str(error) or type(error).__name__}); "
            "start one with `crossfade serve`, or give its address with --url"
        )


def _path(job_id: str) -> str:
    return f"/v1/merges/{quote(job_id, safe='')}"


def _refusal(response: httpx.Response) -> Reported:
    """Turn a problem+json body (RFC 9457) into an error; anything else is told by its status."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "code" not in problem:
        asked = f"{response.request.method} {response.request.url}"
        message = f"{asked} was answered {response.status_code} {response.reason_phrase}; is it a crossfade service?"
        return Reported(message, {"code": "unexpected_answer", "retryable": response.is_server_error})
    said = [str(problem.get("detail") or problem.get("title") or problem["code"])]
    said += [f"{item.get('pointer', '')}: {item.get('message', '')}" for item in problem.get("errors") or ()]
    message = "; ".join(said)
    if response.status_code == httpx.codes.UNAUTHORIZED:
        message += "; put your key, or the service's token, in the environment variable CROSSFADE_TOKEN"
    return Reported(message, {**problem, "message": message})
