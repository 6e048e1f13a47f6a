"""A TaskQueue that delivers nothing and remembers everything."""

from crossfade_core.errors import QueueUnavailable
from crossfade_core.messages import TaskName


class RecordingQueue:
    """Records what was sent. Set `away` and it behaves as a broker that cannot be reached."""

    def __init__(self) -> None:
        self.sent: list[tuple[TaskName, str]] = []
        self.away = False

    def send(self, task: TaskName, id: str) -> None:
        """Record one message.

        Raises:
            QueueUnavailable: `away` is set.
        """
        self.ping()
        self.sent.append((task, id))

    def ping(self) -> None:
        """Do nothing.

        Raises:
            QueueUnavailable: `away` is set.
        """
        if self.away:
            raise QueueUnavailable("the broker did not answer; start it")
