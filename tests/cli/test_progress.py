"""Progress for people: a bar on a terminal, lines elsewhere."""

import io

from rich.console import Console

from crossfade_cli.local import LocalProgress
from crossfade_cli.progress import Pace, open_progress, show_bar, show_lines


class Ticks:
    """A clock that moves on when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_time_left_are_measured_from_the_first_sight_of_the_merge():
    clock = Ticks()
    pace = Pace(clock)
    assert pace.describe(LocalProgress(500, 2_000)) == ""
    clock.now = 2.0
    assert pace.describe(LocalProgress(1_500, 2_000)) == "500 bytes/s, 0:00:01 left"


def test_rate_and_time_left_are_taken_from_who_knows_them():
    assert Pace().describe(LocalProgress(1, 2, 2_500_000.0, 90.0)) == "2.5 MB/s, 0:01:30 left"


def test_a_terminal_gets_a_bar_with_percent_rate_and_time_left():
    stream = io.StringIO()
    with show_bar(Console(file=stream, force_terminal=True, width=100)) as show:
        show(LocalProgress(0, 0))
        show(LocalProgress(50, 200, 10.0, 15.0))
    assert "merging" in stream.getvalue()
    assert "25%" in stream.getvalue()
    assert "10 bytes/s, 0:00:15 left" in stream.getvalue()


def test_elsewhere_there_is_a_line_for_each_tenth():
    stream = io.StringIO()
    with show_lines(Console(file=stream)) as show:
        show(LocalProgress(0, 0))
        for done in range(0, 1_001, 5):
            show(LocalProgress(done, 1_000, 10.0, 1.0))
    percents = [line.split()[1] for line in stream.getvalue().splitlines()]
    assert percents == [f"{tenth}%" for tenth in range(0, 101, 10)]


def test_machines_get_nothing(capsys):
    with open_progress(is_quiet=True) as show:
        show(LocalProgress(1, 2))
    assert capsys.readouterr() == ("", "")
