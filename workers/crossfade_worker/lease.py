"""Hold what is worked on: a unit, renewed on the way so that its loss or its job's cancel is learnt, or a job."""

import contextlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from crossfade_core.errors import StoreUnavailable
from crossfade_core.job import JobId, Unit
from crossfade_core.job_store import JobStore
from crossfade_core.ports import Clock

CONTROL_LEASE_SECONDS: Final = 60.0
"""How long a job waits for another process when the one that planned or published it was killed."""

_RENEWALS_PER_LEASE: Final = 3
_PROGRESS_SECONDS: Final = 0.5


@contextlib.contextmanager
def control_lease(store: JobStore, job_id: JobId, owner: str) -> Iterator[bool]:
    """Hold a job's control lease for the length of a block; False inside where another process holds it.

    It is renewed meanwhile: publishing to a remote registry can take minutes.
    """
    is_held = store.lease_job(job_id, owner, CONTROL_LEASE_SECONDS)
    if not is_held:
        yield False
        return
    is_over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(store, job_id, owner, is_over), daemon=True)
    keeper.start()
    try:
        yield True
    finally:
        is_over.set()
        keeper.join()
        store.release_job(job_id, owner)


def _keep(store: JobStore, job_id: JobId, owner: str, is_over: threading.Event) -> None:
    while not is_over.wait(CONTROL_LEASE_SECONDS / _RENEWALS_PER_LEASE):
        with contextlib.suppress(StoreUnavailable):  # it may be back in time
            if not store.lease_job(job_id, owner, CONTROL_LEASE_SECONDS):
                return


class UnitLease:
    """The lease of one claimed unit; `tick` is called often and reaches the store when it is time.

    Args:
        store: Where the lease is kept.
        clock: The time.
        unit: As claimed; its fence is the token.
        seconds: How long each renewal lasts.
    """

    def __init__(self, store: JobStore, clock: Clock, unit: Unit, seconds: float) -> None:
        self._store, self._clock, self._unit = store, clock, unit
        self._seconds = seconds
        self._every = timedelta(seconds=min(_PROGRESS_SECONDS, seconds / _RENEWALS_PER_LEASE))
        self._renewed_at = clock.now()

    def tick(self, bytes_done: int) -> None:
        """Renew if it is time. A store that is away is waited for as long as the lease still holds.

        Raises:
            LeaseLost: Another process has the unit.
            JobCancelled: The job left RUNNING.
            StoreUnavailable: The store was away until the lease ran out.
        """
        now = self._clock.now()
        if now - self._renewed_at < self._every:
            return
        try:
            self._store.renew_lease(self._unit.id, self._unit.fence, self._seconds, bytes_done)
        except StoreUnavailable:
            if self._clock.now() - self._renewed_at > timedelta(seconds=self._seconds):
                raise
        else:
            self._renewed_at = now
