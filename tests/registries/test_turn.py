"""Processes that share a scratch folder fill it one after the other, and none waits long or for the dead."""

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from crossfade_registries import turn
from crossfade_registries.hub.scratch import Scratch
from crossfade_registries.turn import Turn

LARGE = 32 << 20
HOLD = """
import sys, time
from pathlib import Path
from crossfade_registries.turn import Turn
turn = Turn(Path(sys.argv[1]))
turn.take(1 << 30)
print("taken", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process, which has the turn."""
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "taken\n"
        yield process
        process.kill()


def seconds_to_take(taken: Turn) -> float:
    started = time.monotonic()
    taken.take(LARGE)
    return time.monotonic() - started


def test_turn_of_another_process_is_waited_for_until_it_ends(tmp_path, other):
    started = time.monotonic()
    timer = threading.Timer(0.5, other.kill)
    timer.start()
    Turn(tmp_path).take(LARGE)
    assert 0.5 <= time.monotonic() - started < turn.LONGEST_WAIT_SECONDS
    timer.join()


def test_nobody_waits_longer_than_sending_took_last_time(tmp_path, other):
    waiting = Turn(tmp_path)
    with waiting.sending():
        time.sleep(0.3)
    assert 0.25 < seconds_to_take(waiting) < turn.LONGEST_WAIT_SECONDS / 2


def test_turn_is_free_once_sending_begins(tmp_path):
    first, second = Turn(tmp_path), Turn(tmp_path)
    first.take(LARGE)
    assert seconds_to_take(first) < turn.LONGEST_WAIT_SECONDS / 2
    with first.sending():
        assert seconds_to_take(second) < turn.LONGEST_WAIT_SECONDS / 2


def test_sending_that_fails_says_nothing_of_how_long_it_takes(tmp_path, other):
    waiting = Turn(tmp_path)
    with waiting.sending():
        time.sleep(0.3)
    with contextlib.suppress(ConnectionError), waiting.sending():
        raise ConnectionError
    assert seconds_to_take(waiting) > 0.25


def test_where_nothing_can_be_locked_nobody_waits(tmp_path, other):
    assert seconds_to_take(Turn(tmp_path / "missing")) < turn.LONGEST_WAIT_SECONDS / 2


def test_files_of_one_unit_share_a_turn_and_small_files_need_none(tmp_path, monkeypatch):
    monkeypatch.setattr(turn, "LONGEST_WAIT_SECONDS", 60)
    mine, others = Scratch(tmp_path, 2, Turn(tmp_path)), Scratch(tmp_path, 2, Turn(tmp_path))
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(contextlib.closing(mine.create(LARGE))) for _ in range(2)]
        for file in files:
            file.write(memoryview(b"some"))
        small = stack.enter_context(contextlib.closing(others.create(LARGE - 1)))
        small.write(memoryview(b"some"))
        large = stack.enter_context(contextlib.closing(others.create(LARGE)))
        written = threading.Thread(target=large.write, args=(memoryview(b"some"),))
        written.start()
        written.join(0.3)
        assert written.is_alive()
        with files[0].sending():
            written.join(30)
            assert not written.is_alive()


def test_nothing_is_left_in_the_folder(tmp_path: Path):
    taken = Turn(tmp_path)
    taken.take(LARGE)
    assert list(tmp_path.iterdir()) == []
    taken.give_back()
