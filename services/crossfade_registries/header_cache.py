"""Keep what was read of checkpoints to plan with, so that the next plan of the same files opens none of them.

Holds values and knows nothing of checkpoints: what a value is known by, and what it weighs, is its reader's to say.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Final, TypeVar, cast

_Value = TypeVar("_Value")
_ENTRY_BYTES: Final = 1024
"""What an entry costs beside its value: the key's text, and its place here."""


class HeaderCache:
    """The values that were asked for last, as many as weigh no more than the limit. Safe to use from several threads.

    Of several threads that ask for one value at a time, one reads it and the others wait for it. Beside what is kept,
    memory holds what is being read at the moment.

    Args:
        max_bytes: What all values together may weigh; 0 to keep none.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._under_way: dict[Hashable, Future[Any]] = {}
        self._kept_bytes = 0
        self._lock = threading.Lock()

    @property
    def kept_bytes(self) -> int:
        """What the kept values weigh."""
        return self._kept_bytes

    def recall(self, key: Hashable, read: Callable[[], _Value], weigh: Callable[[_Value], int]) -> _Value:
        """Return the value of a key, read unless it is kept; it is shared, and nobody may change it.

        Args:
            key: Equal keys, equal values.
            read: Reads it. What it raises is raised to all who wait, and nothing is kept of it.
            weigh: Tells how many bytes of memory it takes.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return cast("_Value", self._kept[key][0])
            future = self._under_way.get(key)
            if future is None:
                mine = self._under_way[key] = Future()
        if future is not None:
            return cast("_Value", future.result())
        try:
            value = read()
            self._keep(key, value, weigh(value) + _ENTRY_BYTES)
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._under_way[key]
        mine.set_result(value)
        return value

    def _keep(self, key: Hashable, value: object, weight_bytes: int) -> None:
        if weight_bytes > self._max_bytes:
            return
        with self._lock:
            self._kept[key] = value, weight_bytes
            self._kept_bytes += weight_bytes
            while self._kept_bytes > self._max_bytes:
                _, (_, dropped_bytes) = self._kept.popitem(last=False)
                self._kept_bytes -= dropped_bytes
