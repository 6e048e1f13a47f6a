"""The `Sink` and `FileWriter` ports in memory: they hold their caller to the contract, and misbehave on request."""

import hashlib
import threading
import time
from collections.abc import Mapping
from typing import Literal

from crossfade_core.errors import OutputExists, ScratchTooSmall, SinkError, SinkUnavailable
from crossfade_core.output_name import check_output_name
from crossfade_core.ports import StagedFile


class MemoryWriter:
    """One file in memory. Records the size of every write in `writes` and how it ended in `state`.

    Fails the test when two threads write at once, when something is written after the end, or when `finish` comes
    with other than the announced size.

    Args:
        size_bytes: The announced size; None to take any.
        is_keeping: Whether to keep the content, or only to count it.
    """

    def __init__(self, size_bytes: int | None = None, *, is_keeping: bool = True) -> None:
        self._size_bytes = size_bytes
        self._is_keeping = is_keeping
        self._parts: list[bytes] = []
        self._one_thread = threading.Lock()
        self._failure: tuple[int, BaseException] | None = None
        self._finish_error: BaseException | None = None
        self.writes: list[int] = []
        self.state: Literal["open", "finished", "abandoned"] = "open"
        self.delay_seconds = 0.0

    def fail_at_write(self, number: int, error: BaseException | None = None) -> None:
        """Let the write of that number, counted from 0, raise `error`, SinkUnavailable unless given."""
        self._failure = number, error or SinkUnavailable("no space left on device")

    def fail_at_finish(self, error: BaseException | None = None) -> None:
        """Let `finish` raise `error`, SinkUnavailable unless given."""
        self._finish_error = error or SinkUnavailable("no space left on device")

    @property
    def content(self) -> bytes:
        """What was written so far."""
        return b"".join(self._parts)

    def write(self, buffer: memoryview) -> None:
        assert self._one_thread.acquire(blocking=False), "two threads write one file at once"
        try:
            assert self.state == "open", f"written to when {self.state}"
            time.sleep(self.delay_seconds)
            if self._failure is not None and len(self.writes) == self._failure[0]:
                raise self._failure[1]
            self.writes.append(len(buffer))
            if self._is_keeping:
                self._parts.append(bytes(buffer))
        finally:
            self._one_thread.release()

    def finish(self, sha256: str) -> None:
        assert self.state == "open", f"finished when {self.state}"
        if self._finish_error is not None:
            raise self._finish_error
        written = sum(self.writes)
        assert self._size_bytes in (None, written), f"{written} bytes written, {self._size_bytes} announced"
        if self._is_keeping:
            assert sha256 == hashlib.sha256(self.content).hexdigest(), "the digest is of something else"
        self.state = "finished"

    def abandon(self) -> None:
        if self.state == "open":
            self.state = "abandoned"


class MemorySink:
    """Outputs in memory: staged ones in `writers` by (output, file), committed ones in `published`.

    Args:
        overwrite: Whether a published output may be replaced.
    """

    def __init__(self, *, overwrite: bool = False) -> None:
        self._overwrite = overwrite
        self._mine: set[str] = set()
        self._refusal: BaseException | None = None
        self.writers: dict[tuple[str, str], MemoryWriter] = {}
        self.published: dict[str, dict[str, bytes]] = {}
        self.is_discarded = False
        self.requires_approval = False
        self.room_bytes = 1 << 60

    def refuse(self, error: BaseException | None = None) -> None:
        """Let every call from now on raise `error`, SinkUnavailable unless given."""
        self._refusal = error or SinkUnavailable("the destination is away")

    def check_free(self, name: str) -> None:
        self._check(name)
        if name in self.published and not self._overwrite:
            raise OutputExists(f"{name}: exists already", output=name)

    def check_room(self, file_bytes: int, files: int) -> None:
        if file_bytes * files > self.room_bytes:
            raise ScratchTooSmall(f"{file_bytes * files} bytes needed, {self.room_bytes} free")

    def scratch_bytes(self, file_bytes: int, files: int) -> int:
        return file_bytes * files

    def create_file(self, name: str, file: str, size_bytes: int) -> MemoryWriter:
        self._check(name)
        self.writers[name, file] = MemoryWriter(size_bytes)
        return self.writers[name, file]

    def commit(self, name: str, files: Mapping[str, StagedFile]) -> str:
        self._check(name)
        if name not in self._mine:
            self.check_free(name)
            staged = {
                file: writer.content
                for (output, file), writer in self.writers.items()
                if output == name and writer.state == "finished"
            }
            found = {file: StagedFile.of(content) for file, content in staged.items()}
            if found != dict(files):
                raise SinkError(f"{name}: staged {sorted(staged)}, expected {sorted(files)}", output=name)
            self.published[name] = staged
            self._mine.add(name)
        return f"memory://{name}"

    def hand_over(self, name: str) -> Mapping[str, bytes]:
        self._check(name)
        return {}

    def holds(self, name: str, files: Mapping[str, StagedFile]) -> bool:
        self._check(name)
        found = self.published.get(name, {})
        return {file: StagedFile.of(data) for file, data in found.items()} == files

    def discard(self) -> None:
        self.writers.clear()
        self.is_discarded = True

    def _check(self, name: str) -> None:
        check_output_name(name)
        if self._refusal is not None:
            raise self._refusal
