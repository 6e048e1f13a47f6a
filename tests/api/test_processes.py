"""Several processes on one port: they answer, and they end together, whoever of them is ended."""

import os
import signal
import socket
from collections.abc import Iterator

import httpx
import psutil
import pytest

from crossfade_api.server import take_port
from crossfade_api.settings import ApiSettings
from tests.api.test_process import DEADLINE_SECONDS, Server, submit
from tests.system.serving import wait_for

PROCESSES = 3


@pytest.fixture
def server(environment, port, tmp_path) -> Iterator[Server]:
    server = Server({**environment, "api_processes": str(PROCESSES)}, port, tmp_path / "api.log")
    family = []
    try:
        server.wait_until_up()
        wait_for(lambda: len(answering(server)) == PROCESSES, DEADLINE_SECONDS)
        family = psutil.Process(server.process.pid).children(recursive=True)
        yield server
    finally:
        server.client.close()
        server.process.kill()
        server.process.wait()
        psutil.wait_procs(family, DEADLINE_SECONDS)


def answering(server: Server) -> list[psutil.Process]:
    """The processes that have connected to the port, or wait on it; the parent does neither."""
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if server.log.read_text().count(f"[{child.pid}]")]


def test_connections_of_a_shared_port_send_at_once(environment, port):
    settings = ApiSettings.model_validate({**environment, "api_port": port})
    with take_port(settings) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_what_one_process_accepts_every_process_shows(server):
    job_id = submit(server)
    for _ in range(10):  # each on a connection of its own, which any process may take
        answer = httpx.get(f"{server.client.base_url}/v1/merges/{job_id}", headers=server.client.headers)
        assert answer.json()["id"] == job_id


def test_a_signal_to_the_parent_ends_them_all_by_it(server):
    family = answering(server)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(DEADLINE_SECONDS) == -signal.SIGTERM
    assert not [process for process in family if process.is_running()]
    assert "Traceback" not in server.log.read_text()


def test_where_one_process_is_killed_the_others_stop_and_the_parent_says_so(server):
    family = answering(server)
    os.kill(family[0].pid, signal.SIGKILL)
    assert server.process.wait(DEADLINE_SECONDS) == 1
    assert not [process for process in family if process.is_running()]


def test_where_the_parent_is_killed_nobody_keeps_the_port(server):
    family = answering(server)
    server.process.kill()
    server.process.wait()
    _, alive = psutil.wait_procs(family, DEADLINE_SECONDS)
    assert not alive
