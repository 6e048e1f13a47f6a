"""Say early whether a sink will take a job's outputs: before the API accepts it, and again when it is planned."""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from crossfade_core.plan import MergePlan
from crossfade_core.ports import Sink

_NAMES_AT_ONCE: Final = 8
"""A name is a request or two where the destination is remote; those of a long sweep would keep a user waiting."""


def check_outputs(sink: Sink, names: list[str], plan: MergePlan) -> None:
    """See that the outputs' names are free and that the units have room.

    Args:
        sink: The job's destination.
        names: The outputs.
        plan: What will be written.

    Raises:
        SinkError: The first in the order of the names that the sink will not take, or scratch is too small.
    """
    sink.check_room(plan.largest_shard_bytes, len(names))
    with ThreadPoolExecutor(_NAMES_AT_ONCE) as pool:
        list(pool.map(sink.check_free, names))
