"""Only one job at a time publishes under a name, on any store that lists what was put, conditional writes or not.

A job puts a claim of its own beside those of others, and then looks. Whoever sees nobody else holds the name: of two
that put theirs, the later one sees the earlier one's. Of those that see each other the one with the least id stays and
looks again, the others take theirs back; so of jobs that begin together exactly one goes on.

A claim says whether its job has begun to write there: from then on what is there is this job's to finish or remove.
"""

import time
from typing import Final

from crossfade_core.errors import OutputExists
from crossfade_core.job import JobId
from crossfade_registries.s3.bucket import Bucket
from crossfade_registries.s3.staging import flat

LOOKS: Final = 20
LOOK_SECONDS: Final = 0.1
"""Between two looks: a job that must take its claim back does so within a few requests."""

_CLAIMED: Final = b"claimed\n"
_WRITING: Final = b"writing\n"


class Claims:
    """One job's claims to names in a destination. All methods raise SinkError as the store refuses.

    Args:
        bucket: The destination's bucket.
        folder: The destination's staging prefix, without a "/" at its end.
        job_id: Whose.
    """

    def __init__(self, bucket: Bucket, folder: str, job_id: JobId) -> None:
        self._bucket, self._folder, self._job_id = bucket, f"{folder}/claims", job_id

    def take(self, name: str) -> bool:
        """Claim a name, and return whether this job has begun to write there earlier.

        Raises:
            OutputExists: Another job holds it; the message says which, and what to delete if it is dead.
        """
        if self.is_writing(name):
            return True
        self._bucket.put(self._key(name), _CLAIMED)
        for look in range(LOOKS):
            rivals = self._rivals(name)
            if not rivals:
                return False
            if rivals[0] < self._job_id or look == LOOKS - 1:
                break
            time.sleep(LOOK_SECONDS)
        self.release(name)
        key = f"{self._folder}/{flat(name)}/{rivals[0]}"
        raise OutputExists(
            f"output {name}: job {rivals[0]} is publishing there; choose another output_name, or try again when that "
            f"job has ended. If it is dead, delete {self._bucket.uri(key)}",
            output=name,
            job=rivals[0],
        )

    def begin_writing(self, name: str) -> None:
        """Note that from here on this job writes under the name it has claimed."""
        self._bucket.put(self._key(name), _WRITING)

    def is_writing(self, name: str) -> bool:
        """Whether this job has begun to write there, and neither finished nor given up."""
        return self._bucket.read(self._key(name)) == _WRITING

    def release(self, name: str) -> None:
        """Give the claim back; does nothing where there is none."""
        self._bucket.delete(self._key(name))

    def _rivals(self, name: str) -> list[str]:
        jobs = self._bucket.sizes(f"{self._folder}/{flat(name)}/")
        return sorted(job for job in jobs if job != self._job_id)

    def _key(self, name: str) -> str:
        return f"{self._folder}/{flat(name)}/{self._job_id}"
