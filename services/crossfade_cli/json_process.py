"""A process of the same distribution that is given one JSON object and answers with one JSON object a line."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, Any, Self

from crossfade_core.errors import ProcessFailed, Reported

_CLEANUP_SECONDS = 15.0
_LAST_WORDS_BYTES = 4096


class JsonProcess:
    """The process; a context manager that leaves none behind.

    It has a session of its own, so that Ctrl-C reaches it only through us, once; when we are killed, it ends at the
    next line it cannot write.

    Args:
        argv: Arguments of this Python interpreter.
        title: What messages call it.
    """

    def __init__(self, argv: tuple[str, ...], title: str) -> None:
        self._title = title
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
            text=True,
            encoding="utf-8",
        )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Interrupt the process if it still runs, give it 15 s to remove what it staged, then kill it."""
        try:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)
                self._process.wait(_CLEANUP_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
        finally:
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout, self._stderr):
                if stream is not None:
                    stream.close()

    def events(self, request: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        """Give the process its one request, and yield what it says until its last event, `done`.

        Raises:
            Reported: It failed and said why.
            ProcessFailed: It ended without a word, or said something else.
        """
        is_done = False
        for line in self._lines(request):
            event = _event(line, self._title)
            if event["event"] == "error":
                raise Reported(event["error"]["message"], event["error"])
            is_done = is_done or event["event"] == "done"
            yield event
        code = self._process.wait()
        if code != 0 or not is_done:
            from crossfade_cli.processes import describe_exit

            raise ProcessFailed(f"{self._title} ended with {describe_exit(code)}: {self._last_words()}")

    def _lines(self, request: Mapping[str, object]) -> Iterator[str]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise AssertionError("unreachable: both are pipes")
        try:
            with stdin:
                json.dump(request, stdin)
        except BrokenPipeError:
            pass  # it is gone already; why, its exit and last words tell
        yield from stdout

    def _last_words(self) -> str:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _LAST_WORDS_BYTES))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _event(line: str, title: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict) or "event" not in event:
        raise ProcessFailed(f"{title} said {line[:200]!r} where an event in JSON was expected")
    return event
