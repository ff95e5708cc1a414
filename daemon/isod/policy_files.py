"""Reading policy files that only root can have written."""

import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

FILE_BYTES_MAX = 64 * 1024
ROOT_ONLY = frozenset({0})


class RefusedFile(Exception):
    """A file or directory that isod does not believe; the text says why."""


@contextmanager
def trusted_directory(path: str | Path, owners: Collection[int], parent_fd: int | None = None) -> Iterator[int]:
    """Yield an fd of a directory that nobody but `owners` (uids) can write; raises RefusedFile, FileNotFoundError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = _open(path, flags, parent_fd)
    try:
        _check_owner(os.fstat(fd), owners)
        yield fd
    finally:
        os.close(fd)


def read_trusted(name: str, directory_fd: int, owners: Collection[int]) -> bytes:
    """Read a regular file that nobody but `owners` (uids) can write; raises RefusedFile, FileNotFoundError."""
    # Without O_NONBLOCK a FIFO in its place would hold us for ever.
    fd = _open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, directory_fd)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise RefusedFile("not a regular file")
        _check_owner(status, owners)
        content = b""
        while len(content) <= FILE_BYTES_MAX and (chunk := os.read(fd, FILE_BYTES_MAX + 1)):
            content += chunk
    except OSError as error:
        raise RefusedFile(os.strerror(error.errno or 0)) from None
    finally:
        os.close(fd)
    if len(content) > FILE_BYTES_MAX:
        raise RefusedFile(f"longer than {FILE_BYTES_MAX} bytes")
    return content


def _open(path: str | Path, flags: int, directory_fd: int | None) -> int:
    try:
        return os.open(path, flags, dir_fd=directory_fd)
    except FileNotFoundError:
        raise
    except OSError as error:
        # A symlink gives ELOOP, or ENOTDIR where a directory was asked for.
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            what = "directory" if flags & os.O_DIRECTORY else "file"
            is_link = stat.S_ISLNK(os.stat(path, dir_fd=directory_fd, follow_symlinks=False).st_mode)
            said = f"a symlink; put the {what} itself in its place" if is_link else f"not a {what}"
            raise RefusedFile(said) from None
        raise RefusedFile(os.strerror(error.errno or 0)) from None


def _check_owner(status: os.stat_result, owners: Collection[int]) -> None:
    if status.st_uid not in owners:
        raise RefusedFile(f"belongs to uid {status.st_uid}, not to root")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise RefusedFile("others than its owner can write it")
