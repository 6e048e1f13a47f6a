"""A command that signs: the way to keys that never leave their HSM or KMS. What it says is checked before use."""

import base64
import binascii
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from typing import IO, Final

from crossfade_core.errors import ProgramMissing, SigningFailed
from crossfade_signing.public_keys import PublicKey

_MOST_BYTES: Final = 4096
"""Of what is read of it: a signature of P-256 is some 72 bytes as DER, 96 as base64."""
_MOST_WORDS: Final = 300


class CommandSigner:
    """A command that gets the bytes to sign on standard input, and prints the signature, DER in base64, on the other.

    It gets this process's environment without crossfade's own variables, runs without a shell, and has a session of its
    own, which is killed as a whole when its time is over.

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
                stdin=asked,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise self._failed(f"cannot be started: {error.strerror}") from error
        with _Ear(process.stdout) as said, _Ear(process.stderr) as words:
            try:
                status = process.wait(self._seconds)
            except subprocess.TimeoutExpired as error:
                raise self._failed(f"gave no signature within {self._seconds:g} s") from error
            finally:
                _kill(process)
        if status != 0:
            raise self._failed(f"ended with status {status}: {_last_line(words.heard)}")
        if len(said.heard) > _MOST_BYTES:
            raise self._failed(f"printed more than {_MOST_BYTES} bytes where a signature was expected")
        return said.heard

    def _failed(self, why: str) -> SigningFailed:
        return SigningFailed(f"the signing command {self._words[0]} {why}; try it by hand", program=self._words[0])


class _Ear:
    """Hears a pipe to its end in a thread of its own, and keeps no more of it than fits."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        if pipe is None:
            raise AssertionError("unreachable: it is a pipe")
        self.heard = b""
        self._pipe = pipe
        self._thread = threading.Thread(target=self._hear, daemon=True)

    def __enter__(self) -> "_Ear":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._pipe.close()

    def _hear(self) -> None:
        while part := self._pipe.read1(_MOST_BYTES):  # type: ignore[attr-defined]
            self.heard = (self.heard + part)[: _MOST_BYTES + 1]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the command's whole session, so that nothing holds its pipes; it may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(heard: bytes) -> str:
    lines = heard.decode(errors="replace").strip().splitlines()
    words = lines[-1] if lines else "it said nothing"
    return "".join(sign if sign.isprintable() else "?" for sign in words)[:_MOST_WORDS]
