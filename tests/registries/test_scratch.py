"""Scratch files take the room they were promised, have no name, and are gone when let go, or with their process."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crossfade_core.errors import ScratchTooSmall, SinkUnavailable
from crossfade_registries.hub.scratch import Scratch
from tests.file_systems import NO_MOUNT
from tests.registries.staging import DISK_BYTES

HOLD = """
import sys, time
from pathlib import Path
from crossfade_registries.hub.scratch import Scratch
file = Scratch(Path(sys.argv[1]), 1).create(1 << 16)
file.write(memoryview(b"w" * (1 << 16)))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def test_file_is_read_again_by_a_path_that_is_no_name(folder):
    file = Scratch(folder, 1).create(6)
    file.write(memoryview(b"abc"))
    file.write(memoryview(b"def"))
    assert file.path.read_bytes() == b"abcdef"
    assert file.written_bytes == 6
    assert list(folder.iterdir()) == []
    file.close()
    file.close()


def test_room_is_there_from_the_beginning_and_given_back_at_the_end(small_disk):
    if not small_disk.is_mount():
        pytest.skip(NO_MOUNT)
    before = shutil.disk_usage(small_disk).free
    file = Scratch(small_disk, 1).create(before // 2)
    assert shutil.disk_usage(small_disk).free <= before - before // 2
    file.close()
    assert shutil.disk_usage(small_disk).free == before


def test_full_disk_is_named_before_anything_is_written(small_disk):
    with pytest.raises(SinkUnavailable, match=f"scratch {small_disk}: .*; make room") as caught:
        Scratch(small_disk, 1).create(2 * DISK_BYTES)
    assert caught.value.retryable
    Scratch(small_disk, 1).create(1000).close()


def test_disk_that_fills_while_more_than_promised_is_written_is_named(small_disk):
    file = Scratch(small_disk, 1).create(1)
    with pytest.raises(SinkUnavailable, match=f"scratch {small_disk}: "):
        file.write(memoryview(bytes(2 * DISK_BYTES)))
    file.close()


def test_empty_file_can_be_made(folder):
    file = Scratch(folder, 1).create(0)
    assert file.path.read_bytes() == b""
    file.close()


def test_room_is_for_all_files_of_all_units_at_once(small_disk):
    free = shutil.disk_usage(small_disk).free
    Scratch(small_disk, 2).check_room(free // 6, 3)
    with pytest.raises(
        ScratchTooSmall, match=r"needed \(2 units at once × 3 files × \d+ bytes\), \d+ free; "
    ) as caught:
        Scratch(small_disk, 2).check_room(free // 6 + 4096, 3)
    needed = caught.value.details["needed_bytes"]
    assert needed == 6 * (free // 6 + 4096)
    assert caught.value.details["free_bytes"] < needed


def test_folder_that_is_not_there_is_named(tmp_path):
    scratch = Scratch(tmp_path / "missing", 1)
    for call in (lambda: scratch.check_room(1, 1), lambda: scratch.create(1)):
        with pytest.raises(SinkUnavailable, match="missing: No such file or directory"):
            call()


def test_killed_process_leaves_nothing(folder):
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child, child.stdout as said:
        assert said.readline() == "held\n"
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert list(folder.iterdir()) == []
