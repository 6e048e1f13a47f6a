"""A command that signs: the way to keys that never leave their HSM or KMS. What it says is checked before use."""

import base64
import binascii
import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Final

from crossfade_core.errors import ProgramMissing, SigningFailed
from crossfade_signing.public_keys import PublicKey

_MOST_BYTES: Final = 4096
"""Of what is read of it: a signature of P-256 is some 72 bytes as DER, 96 as base64."""
_MOST_WORDS: Final = 300
_KILLED_SECONDS: Final = 5
_LOOK_SECONDS: Final = 0.05
"""Between two looks at whether the command has ended while its pipes stay open."""


class CommandSigner:
    """A command that gets the bytes to sign on standard input, and prints the signature, DER in base64, on the other.

    It gets this process's environment without crossfade's own variables, runs without a shell, and has a session of its
    own, which is killed as a whole when it has ended or its time is over. What it starts in another session lives on,
    and is not waited for.

    Args:
        words: The program and its arguments.
        key: The public key; a signature that it does not verify is none.
        seconds: How long one signature may take.

    Raises:
        ProgramMissing: There is no such program.
    """

    def __init__(self, words: Sequence[str], key: PublicKey, seconds: float) -> None:
        program = shutil.which(words[0])
        if program is None:
            raise ProgramMissing(f"CROSSFADE_SIGNING_COMMAND: there is no program {words[0]!r}; give its whole path")
        self._words = [program, *words[1:]]
        self._key, self._seconds = key, seconds

    @property
    def key_id(self) -> str:
        """SHA-256, in hex, of the public key as DER SubjectPublicKeyInfo."""
        return self._key.key_id

    @property
    def public_pem(self) -> bytes:
        """The public key as PEM SubjectPublicKeyInfo."""
        return self._key.pem

    def sign(self, data: bytes) -> bytes:
        """Return the command's signature over `data`.

        Raises:
            SigningFailed: It failed, took too long, printed no signature, or one by another key.
        """
        with tempfile.TemporaryFile() as asked:  # no pipe: a command that reads late, or never, keeps nobody waiting
            asked.write(data)
            asked.seek(0)
            said = self._run(asked)
        try:
            signature = base64.b64decode(b"".join(said.split()), validate=True)
        except binascii.Error as error:
            raise self._failed("printed no base64") from error
        if not self._key.verifies(signature, data):
            raise self._failed(f"printed a signature that the public key {self._key.key_id} does not verify")
        return signature

    def _run(self, asked: IO[bytes]) -> bytes:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
        try:
            process = subprocess.Popen(
                self._words,
                bufsize=0,
                stdin=asked,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise self._failed(f"cannot be started: {error.strerror}") from error
        try:
            said, words = _hear(process, self._seconds)
        except subprocess.TimeoutExpired as error:
            raise self._failed(f"gave no signature within {self._seconds:g} s") from error
        finally:
            _let_go(process)
        if process.returncode != 0:
            raise self._failed(f"ended with status {process.returncode}: {_last_line(words)}")
        if len(said) > _MOST_BYTES:
            raise self._failed(f"printed more than {_MOST_BYTES} bytes where a signature was expected")
        return said

    def _failed(self, why: str) -> SigningFailed:
        return SigningFailed(f"the signing command {self._words[0]} {why}; try it by hand", program=self._words[0])


def _hear(process: subprocess.Popen[bytes], seconds: float) -> tuple[bytes, bytes]:
    """Return the first bytes of what a command says on stdout and on stderr until it ends.

    Its own end counts, not that of its pipes, which a helper that it leaves behind may hold open for ever.

    Raises:
        TimeoutExpired: It has not ended in time.
    """
    said, words = bytearray(), bytearray()
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for pipe, heard in ((process.stdout, said), (process.stderr, words)):
            if pipe is None:
                raise AssertionError("unreachable: it is a pipe")
            selector.register(pipe, selectors.EVENT_READ, heard)
        while process.poll() is None and selector.get_map() and time.monotonic() < deadline:
            _listen(selector, _LOOK_SECONDS)
        process.wait(max(deadline - time.monotonic(), 0))
        _listen(selector, 0)  # once: what was said before the end is in the pipes by now
    return bytes(said), bytes(words)


def _listen(selector: selectors.BaseSelector, wait_seconds: float) -> None:
    """Read what the pipes hold, and keep no more of it than fits: who says too much is not kept waiting."""
    for key, _ in selector.select(wait_seconds):
        part = os.read(key.fd, _MOST_BYTES + 1)
        key.data.extend(part[: _MOST_BYTES + 1 - len(key.data)])
        if not part:
            selector.unregister(key.fileobj)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Kill the command's whole session, which may be gone already, or another user's by now (sudo), and live on."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()  # whoever still writes is told so by the kernel
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILLED_SECONDS)


def _last_line(heard: bytes) -> str:
    lines = heard.decode(errors="replace").strip().splitlines()
    words = lines[-1] if lines else "it said nothing"
    return "".join(sign if sign.isprintable() else "?" for sign in words)[:_MOST_WORDS]
