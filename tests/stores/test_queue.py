"""What goes over the broker, and how long a broker that is away can hold a caller."""

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from celery import Celery

from crossfade_core.errors import QueueUnavailable
from crossfade_core.messages import CONTROL_QUEUE, MERGE_QUEUE, PLAN, PUBLISH, UNIT
from crossfade_stores.queue import CeleryTaskQueue, shared_celery_settings
from tests.servers import RedisServer

PATIENCE_SECONDS = 30.0

OpenQueue = Callable[[str], CeleryTaskQueue]


@pytest.fixture
def open_queue() -> Iterator[OpenQueue]:
    queues: list[CeleryTaskQueue] = []

    def open_one(url: str) -> CeleryTaskQueue:
        queues.append(CeleryTaskQueue(url))
        return queues[-1]

    yield open_one
    for queue in queues:
        queue.close()


@pytest.fixture
def queue(redis_url: str, open_queue: OpenQueue) -> CeleryTaskQueue:
    return open_queue(redis_url)


def messages(server: RedisServer, queue: str) -> list[dict]:
    with server.client() as client:
        return [json.loads(message) for message in client.lrange(queue, 0, -1)]


def assert_unavailable_within_patience(call: Callable[[], None]) -> QueueUnavailable:
    began = time.monotonic()
    with pytest.raises(QueueUnavailable) as caught:
        call()
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert caught.value.__cause__ is not None
    return caught.value


@pytest.mark.parametrize(
    ("task", "carrier", "other"),
    [(PLAN, CONTROL_QUEUE, MERGE_QUEUE), (UNIT, MERGE_QUEUE, CONTROL_QUEUE), (PUBLISH, CONTROL_QUEUE, MERGE_QUEUE)],
)
def test_a_task_travels_on_its_own_queue_as_json_with_one_id(queue, redis_server, task, carrier, other):
    queue.send(task, "job-1")
    (message,) = messages(redis_server, carrier)
    assert messages(redis_server, other) == []
    assert message["headers"]["task"] == task
    assert message["content-type"] == "application/json"
    assert "job-1" in message["headers"]["argsrepr"]


def test_a_consumer_with_the_shared_settings_gets_the_id(queue, redis_url: str):
    queue.send(UNIT, "unit-7")
    consumer = Celery("consumer", broker=redis_url, set_as_current=False)
    consumer.conf.update(shared_celery_settings())
    with consumer.connection_for_read() as connection, connection.SimpleQueue(MERGE_QUEUE) as inbox:
        message = inbox.get(timeout=10)
        args, kwargs, _ = message.payload
        message.ack()
    consumer.close()
    assert (args, kwargs) == (["unit-7"], {})


def test_nothing_is_delivered_again_before_a_day_has_passed(queue):
    settings = shared_celery_settings()
    assert settings["broker_transport_options"]["visibility_timeout"] == 86_400
    assert settings["visibility_timeout"] == 86_400
    assert settings["accept_content"] == ["json"]
    assert "result_backend" not in settings


def test_changing_one_copy_of_the_shared_settings_leaves_the_others_alone():
    shared_celery_settings()["broker_transport_options"]["visibility_timeout"] = 1
    assert shared_celery_settings()["broker_transport_options"]["visibility_timeout"] == 86_400


def test_messages_of_many_threads_all_arrive(queue, redis_server):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: queue.send(UNIT, f"unit-{number}"), range(200)))
    arrived = {message["headers"]["argsrepr"] for message in messages(redis_server, MERGE_QUEUE)}
    assert len(arrived) == 200


def test_ping_reaches_the_broker_and_leaves_nothing_there(queue, redis_server):
    queue.ping()
    with redis_server.client() as client:
        assert client.keys() == []


def test_a_broker_that_is_not_there_is_unavailable_soon(tmp_path: Path, open_queue: OpenQueue):
    queue = open_queue(f"redis+socket://{tmp_path}/missing.sock?virtual_host=0")
    assert_unavailable_within_patience(lambda: queue.send(PLAN, "job-1"))
    assert_unavailable_within_patience(queue.ping)


def test_a_broker_that_refuses_connections_is_unavailable_soon_and_its_password_is_not_shown(open_queue: OpenQueue):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        queue = open_queue(f"redis://:hush@127.0.0.1:{port}/0")
        for call in (lambda: queue.send(PLAN, "job-1"), queue.ping):
            error = assert_unavailable_within_patience(call)
            assert "hush" not in str(error)
            assert f"127.0.0.1:{port}" in str(error)


def test_a_broker_that_accepts_and_never_answers_is_unavailable_soon(open_queue: OpenQueue):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(16)
        queue = open_queue(f"redis://127.0.0.1:{mute.getsockname()[1]}/0")
        assert_unavailable_within_patience(lambda: queue.send(PLAN, "job-1"))
        assert_unavailable_within_patience(queue.ping)


def test_a_broker_that_hangs_after_the_first_message_is_unavailable_soon_and_comes_back(open_queue: OpenQueue):
    with RedisServer() as server:
        queue = open_queue(server.url)
        queue.send(PLAN, "job-1")
        server.send_signal(signal.SIGSTOP)
        try:
            assert_unavailable_within_patience(lambda: queue.send(PLAN, "job-2"))
            assert_unavailable_within_patience(queue.ping)
        finally:
            server.send_signal(signal.SIGCONT)
        queue.send(PLAN, "job-3")
        assert "['job-3']" in {message["headers"]["argsrepr"] for message in messages(server, CONTROL_QUEUE)}


def test_a_broker_that_is_restarted_takes_messages_again(open_queue: OpenQueue):
    with RedisServer() as server:
        queue = open_queue(server.url)
        queue.send(PLAN, "job-1")
        server.stop()
        assert_unavailable_within_patience(lambda: queue.send(PLAN, "job-2"))
        server.start()
        queue.send(PLAN, "job-3")
        (message,) = messages(server, CONTROL_QUEUE)
        assert "job-3" in message["headers"]["argsrepr"]


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [("maxmemory", "1", "used memory > 'maxmemory'"), ("requirepass", "hush", "Authentication required")],
)
def test_a_broker_that_is_full_or_wants_a_password_is_unavailable(open_queue: OpenQueue, setting, value, reason):
    with RedisServer() as server, server.client() as client:
        client.config_set(setting, value)
        queue = open_queue(server.url)
        assert reason in str(assert_unavailable_within_patience(lambda: queue.send(PLAN, "job-1")))
