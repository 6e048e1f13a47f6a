"""Say early whether a sink will take a job's outputs: before the API accepts it, and again when it is planned."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from crossfade_core.errors import SinkError
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
    for refusal in find_refusals(sink, names, plan):
        raise refusal


def find_refusals(sink: Sink, names: list[str], plan: MergePlan) -> Iterator[SinkError]:
    """Yield everything that `check_outputs` would raise one of: of the room, then of every name in their order."""
    room = _refusal(lambda: sink.check_room(plan.largest_shard_bytes, len(names)))
    if room is not None:
        yield room
    with ThreadPoolExecutor(_NAMES_AT_ONCE) as pool:
        found = list(pool.map(lambda name: _refusal(lambda: sink.check_free(name)), names))
    yield from (error for error in found if error is not None)


def _refusal(check: Callable[[], None]) -> SinkError | None:
    try:
        check()
    except SinkError as error:
        return error
    return None
