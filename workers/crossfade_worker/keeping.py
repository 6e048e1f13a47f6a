"""Decide how long what a failed job has staged is kept for a retry."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from crossfade_core.errors import (
    CrossfadeError,
    DiskFull,
    MergeRefused,
    SinkError,
    SourceChanged,
    StagedFileCorrupted,
    StagedFileLost,
)
from crossfade_core.ports import Clock


def _codes(kind: type[CrossfadeError]) -> set[str]:
    return {kind.code}.union(*(_codes(child) for child in kind.__subclasses__()))


_FOR_NOTHING: Final = _codes(MergeRefused) | {
    SourceChanged.code,
    StagedFileLost.code,
    StagedFileCorrupted.code,
    SinkError.code,  # what is staged is not as planned
    DiskFull.code,
}
"""Codes of errors after which keeping helps nobody.

The same numbers are refused again; the files that were planned are gone; what is staged is not what was made; what is
staged stands in the way of others.
"""


@dataclass(frozen=True)
class Keeping:
    """How long staged shards outlive the failure of their job.

    Attributes:
        clock: The time.
        seconds: So long, from the failure on; 0 for not at all.
    """

    clock: Clock
    seconds: float

    def until(self, *errors: Mapping[str, Any]) -> datetime:
        """Return until when the staged shards of a job that ends with these errors are kept: now, if for nothing."""
        is_of_use = errors and not any(error["code"] in _FOR_NOTHING for error in errors)
        return self.clock.now() + timedelta(seconds=self.seconds if is_of_use else 0)

    def is_over(self, staged_until: datetime | None) -> bool:
        """Tell whether what a job has staged may go."""
        return staged_until is None or staged_until <= self.clock.now()
