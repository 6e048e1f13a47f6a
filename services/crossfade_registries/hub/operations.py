"""The additions of a commit to a Hub, whose digests are known before the client sees them.

The one place that touches private fields of the client's `CommitOperationAdd`: without them the client would hash every
file a second time, and could not commit what another process has uploaded. A test holds them to what is used here.
"""

from pathlib import Path
from typing import Final

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.lfs import UploadInfo

from crossfade_core.ports import StagedFile

MAX_REGULAR_BYTES: Final = 10 << 20
"""What is larger is never kept in git itself (https://huggingface.co/docs/hub/storage-limits)."""


def is_always_large(file: str, size_bytes: int) -> bool:
    """Tell whether a file goes to large storage whatever the Hub thinks of its name, so that any process can commit it.

    Weights do, because other processes stage them than commit them; of what is small otherwise the Hub says it.
    """
    return size_bytes > MAX_REGULAR_BYTES or (file.endswith(".safetensors") and size_bytes > 0)


def addition(file: str, path: Path, staged: StagedFile) -> CommitOperationAdd:
    """Return an addition whose content lies at `path`; it is not hashed."""
    operation = CommitOperationAdd(file, path)
    operation.upload_info.sha256 = bytes.fromhex(staged.sha256)
    if is_always_large(file, staged.size_bytes):
        operation._upload_mode = "lfs"
    return operation


def uploaded_addition(file: str, staged: StagedFile) -> CommitOperationAdd:
    """Return an addition of what this or another process has uploaded to large storage."""
    operation = CommitOperationAdd(file, b"")
    operation.upload_info = UploadInfo(staged.size_bytes, b"", bytes.fromhex(staged.sha256))
    operation._upload_mode = "lfs"
    operation._is_uploaded = True
    return operation


def upload(api: HfApi, repo: str, operation: CommitOperationAdd) -> None:
    """Send an addition's content to large storage; keep what is small, which the Hub may want with the commit.

    Afterwards the file it was made from is needed no more. Sends nothing that the Hub already holds.
    """
    path = operation.path_or_fileobj
    api.preupload_lfs_files(repo, additions=[operation], num_threads=1)
    if operation._should_ignore:  # a .gitignore at the destination has no say in what an output consists of
        operation._should_ignore = False
        api.preupload_lfs_files(repo, additions=[operation], num_threads=1)
    # What the branch holds now may not be what it holds when the commit is made: nothing is left out for being there.
    operation._remote_oid = None
    if not is_always_large(operation.path_in_repo, operation.upload_info.size):
        operation.path_or_fileobj = Path(str(path)).read_bytes()


def held_content(operation: CommitOperationAdd) -> bytes | None:
    """Return the content that `upload` kept; None of what is always large."""
    if is_always_large(operation.path_in_repo, operation.upload_info.size):
        return None
    content = operation.path_or_fileobj
    return content if isinstance(content, bytes) else None


def staged_file(operation: CommitOperationAdd) -> StagedFile:
    """Return what an addition adds."""
    return StagedFile(operation.upload_info.size, operation.upload_info.sha256.hex())


def oid(operation: CommitOperationAdd) -> str:
    """Return how the Hub will call the content: its SHA-256, or git's name of it where git keeps it."""
    return operation._local_oid or ""
