"""The two renames Python lacks: one that refuses to replace, one that swaps. Linux renameat2(2), glibc ≥ 2.28."""

import ctypes
import errno
import os
from typing import Final

_NOREPLACE: Final = 1
_EXCHANGE: Final = 2
_libc = ctypes.CDLL(None, use_errno=True)


def rename_exclusive(source: str, target: str, *, source_fd: int, target_fd: int) -> None:
    """Rename, and never over something that exists.

    Raises:
        FileExistsError: The target exists.
        OSError: Any other failure, as rename(2).
    """
    try:
        _renameat2(source, target, source_fd, target_fd, _NOREPLACE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        _rename_folder(source, target, source_fd, target_fd)


def exchange(source: str, target: str, *, source_fd: int, target_fd: int) -> None:
    """Swap two names in one step; both must exist.

    Raises:
        OSError: As rename(2); EINVAL where the file system cannot swap.
    """
    _renameat2(source, target, source_fd, target_fd, _EXCHANGE)


def _rename_folder(source: str, target: str, source_fd: int, target_fd: int) -> None:
    """For file systems without the flag (NFS, some FUSE): rename(2) replaces no folder that holds anything."""
    try:
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error
        raise


def _renameat2(source: str, target: str, source_fd: int, target_fd: int, flags: int) -> None:
    if _libc.renameat2(source_fd, os.fsencode(source), target_fd, os.fsencode(target), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), source, None, target)
