"""Task names, queue names and the shape of a message: a message carries one id, never a spec, a URL or a token."""

from typing import Final, Literal

TaskName = Literal["merge.plan", "merge.unit", "merge.publish"]

PLAN: Final = "merge.plan"
UNIT: Final = "merge.unit"
PUBLISH: Final = "merge.publish"

CONTROL_QUEUE: Final = "control"
MERGE_QUEUE: Final = "merge"

QUEUE_OF: Final[dict[TaskName, str]] = {PLAN: CONTROL_QUEUE, UNIT: MERGE_QUEUE, PUBLISH: CONTROL_QUEUE}
"""Which queue carries which task. The id sent is a job id for plan and publish, a unit id for unit."""
