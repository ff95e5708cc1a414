"""Paths of a container as far as one of its accounts may walk them: isod looks with rights that the account lacks.

Without that a link of one account's would tell it what is in closed directories of others. Modes decide, as they do for
one of a directory's group and for one of all others at once, since isod knows no groups inside, and no ACLs.
"""

import errno
import os
import stat
from collections import deque
from typing import NamedTuple

from isod.host.rootfs import openat2

_LINKS_MAX = 40  # path_resolution(7)
_STEPS_MAX = 256
_ENTER, _READ = 0o1, 0o4


class Closed(Exception):
    """The account may not look there, so it is not told whether there is anything."""


class Viewer(NamedTuple):
    """An account of a container: its uid on the host; root inside may do anything there."""

    uid: int
    is_root: bool = False

    def may(self, status: os.stat_result, right: int) -> bool:
        """Tell whether a mode surely gives a right, one of 4 and 1 as in chmod(1)."""
        if self.is_root:
            return True
        needed = right << 6 if status.st_uid == self.uid else right << 3 | right
        return status.st_mode & needed == needed


def reach(root_fd: int, path: str, viewer: Viewer) -> int:
    """Give an O_PATH descriptor of what a path is, at the end of its symlinks, below the root.

    Raises FileNotFoundError and other OSError where the account sees so itself, Closed where it may not look.
    """
    waiting = deque(path.split("/"))
    passed = [os.dup(root_fd)]
    links = 0
    try:
        for _ in range(_STEPS_MAX):
            if not waiting:
                return passed.pop()
            fd = _below(passed, waiting.popleft(), viewer)
            if fd < 0:
                continue
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                passed.append(fd)
                continue
            links += 1
            target = _target(fd)
            if links > _LINKS_MAX:
                break
            waiting.extendleft(reversed(target.split("/")))
            while target.startswith("/") and len(passed) > 1:
                os.close(passed.pop())
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    finally:
        for fd in passed:
            os.close(fd)


def _below(passed: list[int], name: str, viewer: Viewer) -> int:
    """Open a name in the last of these directories; -1 where that leads to one of them. Raises OSError, Closed."""
    if name in ("", "."):
        return -1
    status = os.fstat(passed[-1])
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
    if not viewer.may(status, _ENTER):
        raise Closed
    if name != "..":
        return openat2(passed[-1], name, os.O_PATH | os.O_NOFOLLOW)
    if len(passed) > 1:
        os.close(passed.pop())
    return -1


def _target(link_fd: int) -> str:
    try:
        return os.readlink("", dir_fd=link_fd)
    finally:
        os.close(link_fd)


def open_readable(root_fd: int, path: str, viewer: Viewer) -> tuple[int, os.stat_result]:
    """Open a regular file or a directory that the account may read, and give what it is. Raises OSError, Closed."""
    path_fd = reach(root_fd, path, viewer)
    try:
        status = os.fstat(path_fd)
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            # Nothing is opened that opening does something to.
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        if not viewer.may(status, _READ):
            raise Closed
        return os.open(f"/proc/self/fd/{path_fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), status
    finally:
        os.close(path_fd)
