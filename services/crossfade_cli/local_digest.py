"""Hash what lies on this machine: a file, or the weights of a folder. Shows progress; holds one block in memory."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from crossfade_cli.local import LocalProgress
from crossfade_cli.progress import open_progress
from crossfade_core.errors import NoCheckpoint, SourceNotFound, SourceUnavailable
from crossfade_core.lineage_graph import checkpoint_digest, decides_numbers

_BLOCK_BYTES: Final = 1 << 20


def digest_of(path: Path, *, is_quiet: bool) -> str:
    """Return the hex SHA-256 of a file, or `checkpoint_digest` of a folder's files.

    Raises:
        SourceNotFound: There is nothing, or no plain file.
        NoCheckpoint: The folder holds no weights.
        SourceUnavailable: A file cannot be read.
    """
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if decides_numbers(file.name) and file.is_file()]
        digests = _digests(files, is_quiet=is_quiet)
        checkpoint = checkpoint_digest({file.name: sha256 for file, sha256 in digests.items()})
        if checkpoint is None:
            raise NoCheckpoint(f"{path}: no *.safetensors file lies in this folder; give a file, or a model's folder")
        return checkpoint
    if not path.is_file():  # a pipe would keep us waiting for ever
        raise SourceNotFound(f"{path}: no such file; give a file, a folder, a SHA-256, or a URI as a job shows it")
    return _digests([path], is_quiet=is_quiet)[path]


def _digests(files: list[Path], *, is_quiet: bool) -> dict[Path, str]:
    done_bytes = 0
    try:
        total_bytes = sum(file.stat().st_size for file in files)
        with open_progress(is_quiet=is_quiet, verb="hashing") as show:

            def tick(count_bytes: int) -> None:
                nonlocal done_bytes
                done_bytes += count_bytes
                show(LocalProgress(done_bytes, total_bytes))

            return {file: _sha256(file, tick) for file in files}
    except OSError as error:
        raise SourceUnavailable(f"{error.filename}: cannot be read: {error.strerror}", file=error.filename) from error


def _sha256(file: Path, tick: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK_BYTES):
            digest.update(block)
            tick(len(block))
    return digest.hexdigest()
