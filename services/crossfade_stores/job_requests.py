"""The store's side of idempotency keys: a request that is sent again finds the job of the first.

Source: The Idempotency-Key HTTP Header Field, draft-ietf-httpapi-idempotency-key-header, section 2.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crossfade_core.errors import IdempotencyMismatch, RequestInFlight
from crossfade_core.job import JobId
from crossfade_core.job_store import IdempotentRequest
from crossfade_stores.job_tables import RequestRow
from crossfade_stores.transactions import StoreSide

KEPT: Final = timedelta(hours=24)
IN_FLIGHT: Final = timedelta(minutes=5)
"""A request that has had no answer for so long was given up by its process, or that died."""


class JobRequests(StoreSide):
    """Requests with an idempotency key; see `crossfade_core.job_store.JobStore` for what each method promises."""

    def begin_request(self, request: IdempotentRequest) -> JobId | None:
        """Note that a request is being answered, or return the job that answered it.

        Raises:
            IdempotencyMismatch: The key came with another body.
            RequestInFlight: The same request is being answered at this moment.
        """
        now = self._clock.now()
        try:
            with self._transactions.write() as session:
                row = session.get(RequestRow, (request.caller, request.key), with_for_update=True)
                if row is not None and row.created_at <= now - KEPT:
                    session.delete(row)  # locked, so nobody else takes its place before this transaction ends
                    session.flush()
                    row = None
                if row is None:
                    session.add(_new_row(request, now))
                    return None
                if row.body_digest != request.body_digest:
                    raise IdempotencyMismatch(
                        f"the idempotency key {request.key!r} came with another body; take a new key for a new request",
                        key=request.key,
                    )
                if row.job_id is None:
                    if row.created_at > now - IN_FLIGHT:
                        raise _in_flight(request)
                    row.created_at, row.attempt = now, request.attempt
                return row.job_id
        except IntegrityError:  # both were first
            raise _in_flight(request) from None

    def answer_request(self, request: IdempotentRequest, job_id: JobId) -> None:
        """Note which job answers a request.

        Raises:
            RequestInFlight: It took so long that the request, sent again, is being answered anew.
        """
        with self._transactions.write() as session:
            answer(session, request, job_id)

    def drop_request(self, request: IdempotentRequest) -> None:
        """Forget a request that was refused: it may be sent again, also with another body."""
        is_mine = (RequestRow.caller == request.caller, RequestRow.key == request.key)
        is_open = (RequestRow.attempt == request.attempt, RequestRow.job_id.is_(None))
        with self._transactions.write() as session:
            session.execute(delete(RequestRow).where(*is_mine, *is_open))

    def forget_requests(self) -> None:
        """Forget the requests of more than 24 hours ago."""
        with self._transactions.write() as session:
            session.execute(delete(RequestRow).where(RequestRow.created_at <= self._clock.now() - KEPT))


def answer(session: Session, request: IdempotentRequest, job_id: JobId) -> None:
    """Note which job answers a request, within a transaction.

    Raises:
        RequestInFlight: It took so long that the request, sent again, is being answered anew.
    """
    row = session.get(RequestRow, (request.caller, request.key), with_for_update=True)
    if row is None or row.attempt != request.attempt:
        raise _in_flight(request)
    row.job_id = job_id


def _in_flight(request: IdempotentRequest) -> RequestInFlight:
    return RequestInFlight(
        f"the request with the idempotency key {request.key!r} is being answered; ask again in some seconds",
        key=request.key,
    )


def _new_row(request: IdempotentRequest, now: datetime) -> RequestRow:
    return RequestRow(
        caller=request.caller,
        key=request.key,
        body_digest=request.body_digest,
        attempt=request.attempt,
        job_id=None,
        created_at=now,
    )
