"""Call a registry again where its error says that this can help; which error it is, is the adapter's to say."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import stamina

from crossfade_core.errors import CrossfadeError

T = TypeVar("T")

_JITTER: Final = 0.25
"""Of a wait that the registry asked for: at most so much longer, that not all of its clients come back at once."""


@dataclass(frozen=True)
class Patience:
    """How often and how long to try.

    Attributes:
        attempts: Calls at most, the first included.
        first_wait_seconds: Before the second call; doubled for each after it, and up to twice as much added by chance.
        longest_wait_seconds: Between two calls, unless the registry asks for more.
        total_seconds: No wait begins that would end later than this after the first call.
    """

    attempts: int = 8
    first_wait_seconds: float = 0.2
    longest_wait_seconds: float = 30.0
    total_seconds: float = 300.0


def retried(call: Callable[[], T], patience: Patience = Patience()) -> T:
    """Return what `call` returns, calling again after each retryable error.

    Waits grow exponentially with jitter; an error that knows `retry_after_seconds` is waited out as it says, or raised
    at once where that is longer than patience lasts.

    Raises:
        CrossfadeError: As `call` raised it: one that is not retryable, or the last one when patience ran out.
    """
    give_up_at = time.monotonic() + patience.total_seconds

    def judge(error: Exception) -> bool | float:
        if not isinstance(error, CrossfadeError) or not error.retryable:
            return False
        asked = _asked_seconds(error)
        if asked is None:
            return True
        wait = asked + random.uniform(0, _JITTER * max(asked, patience.first_wait_seconds))
        return wait if time.monotonic() + wait < give_up_at else False

    for attempt in stamina.retry_context(
        on=judge,
        attempts=patience.attempts,
        timeout=patience.total_seconds,
        wait_initial=patience.first_wait_seconds,
        wait_max=patience.longest_wait_seconds,
        wait_jitter=2 * patience.first_wait_seconds,
    ):
        with attempt:
            return call()
    raise AssertionError("unreachable: the last attempt returns or raises")


def _asked_seconds(error: CrossfadeError) -> float | None:
    asked = error.details.get("retry_after_seconds")
    return max(0.0, float(asked)) if isinstance(asked, int | float) else None
