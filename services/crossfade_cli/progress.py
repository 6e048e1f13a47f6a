"""How far a merge is, for people, on stderr: a live bar on a terminal, lines elsewhere, nothing for machines."""

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console

_LINE_EVERY_PERCENT = 10


class HowFar(Protocol):
    """Progress in output bytes over all λ; rate and time left where somebody who knows better gives them."""

    @property
    def bytes_done(self) -> int:
        """Bytes written so far."""

    @property
    def bytes_total(self) -> int:
        """Bytes to write; 0 while there is no plan."""

    @property
    def rate_bytes_per_second(self) -> float | None:
        """The rate, or None to have it measured here."""

    @property
    def eta_seconds(self) -> float | None:
        """The time left, or None to have it measured here."""


Show = Callable[[HowFar], None]


class Pace:
    """Rate and time left where nobody gives them: the mean since the merge was first seen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[float, int] | None = None

    def describe(self, far: HowFar) -> str:
        """Return such as `120.5 MB/s, 0:00:04 left`, or nothing while the rate is unknown."""
        rate, eta_seconds = far.rate_bytes_per_second, far.eta_seconds
        if rate is None or eta_seconds is None:
            rate, eta_seconds = self._measure(far.bytes_done, far.bytes_total)
        if rate is None or eta_seconds is None:
            return ""
        from rich.filesize import decimal

        return f"{decimal(round(rate))}/s, {timedelta(seconds=round(eta_seconds))} left"

    def _measure(self, bytes_done: int, bytes_total: int) -> tuple[float | None, float | None]:
        now = self._clock()
        if self._first is None:
            self._first = (now, bytes_done)
        seconds, moved = now - self._first[0], bytes_done - self._first[1]
        if seconds <= 0 or moved <= 0:
            return None, None
        rate = moved / seconds
        return rate, (bytes_total - bytes_done) / rate


def open_progress(*, is_quiet: bool, verb: str = "merging") -> contextlib.AbstractContextManager[Show]:
    """Return what shows progress: on a terminal a bar, elsewhere lines, nothing when `is_quiet`."""
    if is_quiet:
        return contextlib.nullcontext(lambda far: None)
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False)
    return show_bar(console, verb) if console.is_terminal else show_lines(console, verb)


@contextlib.contextmanager
def show_bar(console: "Console", verb: str = "merging") -> Iterator[Show]:
    """Show one live bar with percent, rate and time left."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    pace = Pace()
    columns = (TextColumn(verb), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[pace]}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=None, pace="")

        def show(far: HowFar) -> None:
            total = far.bytes_total or None
            progress.update(task, completed=far.bytes_done, total=total, pace=pace.describe(far))

        yield show


@contextlib.contextmanager
def show_lines(console: "Console", verb: str = "merging") -> Iterator[Show]:
    """Print a line for each tenth of the way."""
    pace = Pace()
    printed = -_LINE_EVERY_PERCENT

    def show(far: HowFar) -> None:
        nonlocal printed
        described = pace.describe(far)
        percent = 100 * far.bytes_done // far.bytes_total if far.bytes_total else 0
        if far.bytes_total and percent // _LINE_EVERY_PERCENT > printed // _LINE_EVERY_PERCENT:
            printed = percent
            console.print(f"{verb} {percent:3d}% {described}".rstrip())

    yield show
