"""Prove that a stopped container's root holds no trap for a start script that works in it by path."""

import os
import stat
from collections.abc import Callable

from isod_contract import start_script

_OPEN = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UnsafeRoot(Exception):
    """Something in the root is neither absent nor what it must be; the text names it."""


def check_roots(machine: str, root: str = "/") -> None:
    """Check the root of a NixOS container, if there is one of that name; `root` is for tests.

    Raises UnsafeRoot, OSError.
    """
    for parent in start_script.ROOTS:
        try:
            fd = os.open(os.path.join(root, parent, machine), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            _check(fd)
        finally:
            os.close(fd)


def _check(root_fd: int) -> None:
    for path in start_script.DIRECTORIES:
        _check_path(root_fd, path, stat.S_ISDIR)
    for path in start_script.FILES:
        _check_path(root_fd, path, stat.S_ISREG)


def _check_path(root_fd: int, path: str, is_right: Callable[[int], bool]) -> None:
    """Look at the last component; those before it are real directories, since they were checked before."""
    parent, _, name = path.rpartition("/")
    fd = os.dup(root_fd)
    try:
        for component in filter(None, parent.split("/")):
            inner = os.open(component, _OPEN, dir_fd=fd)
            os.close(fd)
            fd = inner
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    finally:
        os.close(fd)
    if not is_right(status.st_mode):
        raise UnsafeRoot(f"/{path} is not what it must be (mode {status.st_mode:o})")
