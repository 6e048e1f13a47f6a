"""Send messages through Celery, and hold the broker settings that every Celery app on one broker must share.

Sends and nothing else: no results, no schedules, no consuming. A broker that is away costs a caller a few seconds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from celery import Celery
from kombu.exceptions import OperationalError

from crossfade_core.errors import QueueUnavailable
from crossfade_core.messages import QUEUE_OF, TaskName

VISIBILITY_SECONDS: Final = 24 * 3600
"""After this long Redis delivers an unacknowledged message again, even while its task runs (docs/adr/0003)."""

_CONNECT_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 2.0
_RETRY: Final[dict[str, Any]] = {"max_retries": 1, "interval_start": 0.1, "interval_step": 0, "interval_max": 0.1}


def shared_celery_settings() -> dict[str, Any]:
    """Return the settings that senders and workers must agree on: the shortest visibility timeout of all apps wins."""
    return {
        "broker_transport_options": {"visibility_timeout": VISIBILITY_SECONDS},
        "visibility_timeout": VISIBILITY_SECONDS,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "enable_utc": True,
        "timezone": "UTC",
    }


class CeleryTaskQueue:
    """The `TaskQueue` of production. Connects at the first message; safe to use from several threads.

    Args:
        broker_url: `redis+socket:///dir/r.sock?virtual_host=0` or `redis://host:6379/0`.
    """

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("crossfade", broker=broker_url, set_as_current=False)
        self._app.conf.update(shared_celery_settings())
        self._app.conf.broker_transport_options = {
            **self._app.conf.broker_transport_options,
            # A worker waits on its broker for as long as it takes; an HTTP request does not.
            "socket_connect_timeout": _CONNECT_SECONDS,
            "socket_timeout": _ANSWER_SECONDS,
            **_RETRY,
        }

    def send(self, task: TaskName, id: str) -> None:
        """Send one message to the queue that carries `task`.

        Raises:
            QueueUnavailable: The broker refused, or did not answer within a few seconds.
        """
        with self._wrapped():
            self._app.send_task(task, args=[id], queue=QUEUE_OF[task], retry=True, retry_policy=_RETRY)

    def ping(self) -> None:
        """Reach the broker on a new connection and have it answer.

        Raises:
            QueueUnavailable: As for `send`.
        """
        with self._wrapped(), self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=0)

    def close(self) -> None:
        """Let go of all connections."""
        self._app.close()

    @contextmanager
    def _wrapped(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            broker = self._app.connection_for_write().as_uri()
            raise QueueUnavailable(
                f"the broker {broker} refused or did not answer: {error}; check that it runs"
            ) from error
