"""Paths in a container on whose way the kernel alone answers, each component by descriptor and looked at before use.

What a link says is followed like the rest: openat2(2) by itself would ask any file system on its way.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence

from isod.host import rootfs
from isod.host.mount_table import Mount, answers, unanswering
from isod.host.processes import fd_info

_LINKS_MAX = 40  # as many as the kernel follows (path_resolution(7))
_COMPONENTS_MAX = 512


class MayNeverAnswerError(OSError):
    """On the way lies a file system behind which stands a program or another machine."""


class Answering:
    """A container's files, as its init sees them by its table of mounts."""

    def __init__(self, root_fd: int, mounts: Sequence[Mount]) -> None:
        """Borrow the root: whatever file system it is on, a container that boots from that depends on it in all."""
        self._root_fd = root_fd
        self._mounts = mounts
        self._answering = {mount.number for mount in mounts if answers(mount)}

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """Hold what is at the end of an absolute path and its links, as O_PATH.

        Raises OSError: MayNeverAnswerError where on the way somebody else than the kernel has to answer.
        """
        with contextlib.ExitStack() as stack:
            yield self._walk(path, stack)

    @contextlib.contextmanager
    def opened_to_read(self, path: str) -> Iterator[int]:
        """Hold a regular file at the end of a path, to be read. Raises OSError as above, also for anything else."""
        with self.opened(path) as path_fd:
            if not stat.S_ISREG(os.fstat(path_fd).st_mode):
                raise OSError(f"{path} is no regular file")
            # The same file once more, and not its path: another may be there by now.
            fd = os.open(f"/proc/self/fd/{path_fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                yield fd
            finally:
                os.close(fd)

    def _walk(self, path: str, stack: contextlib.ExitStack) -> int:
        here: list[tuple[str, int]] = []  # the way from the root without links: names, descriptors
        waiting = _names(path)
        links_left, left = _LINKS_MAX, _COMPONENTS_MAX
        while waiting:
            left -= 1
            if left < 0 or links_left < 0:
                raise OSError("its links have no end")
            name = waiting.pop()
            if name == "..":
                del here[-1:]
                continue
            fd = self._open(here, name)
            stack.callback(os.close, fd)
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                links_left -= 1
                target = os.readlink("", dir_fd=fd)
                if target.startswith("/"):
                    here.clear()
                waiting.extend(_names(target))
            else:
                here.append((name, fd))
        return here[-1][1] if here else self._root_fd

    def _open(self, here: list[tuple[str, int]], name: str) -> int:
        """Open a name in a directory that answers; a mount is crossed without asking what is mounted."""
        if kind := unanswering(self._mounts, "/" + "/".join([*(above for above, _ in here), name])):
            raise MayNeverAnswerError(f"on the way lies a file system of type {kind}, which may never answer")
        directory_fd = here[-1][1] if here else self._root_fd
        fd = rootfs.openat2(directory_fd, name, os.O_PATH | os.O_NOFOLLOW)
        try:
            mount = _mount_of(fd)
            if mount not in self._answering and mount != _mount_of(self._root_fd):
                raise OSError("what is mounted on the way changes")
        except OSError:
            os.close(fd)
            raise
        return fd


def _names(path: str) -> list[str]:
    """Give the components of a path, the first one last."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _mount_of(fd: int) -> int:
    """Give the number of the mount that a descriptor is on; the kernel alone is asked."""
    return int(fd_info(fd)["mnt_id"])
