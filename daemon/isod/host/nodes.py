"""Device nodes of containers: those below /run/isod/container, and those that a container sees.

Root in a container without user namespacing can write to the first, so everything is done by descriptor.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from isod.host import rootfs
from isod_contract.errors import UnsafePath
from isod_contract.names import CONTAINER_DIRECTORY, NODE_DIRECTORY

_DIRECTORIES = ("dri", NODE_DIRECTORY)
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class ContainerNodes:
    """Adapter of `Nodes`."""

    def __init__(self, base: Path = Path(CONTAINER_DIRECTORY)) -> None:
        """Take the directory of all containers, which is root's own."""
        self._base = base

    def listed(self, machine: str) -> dict[tuple[str, str], str]:
        """Give what stands in the two directories: numbers by place and name, "" for what is no device node."""
        found = {}
        for directory in _DIRECTORIES:
            with self._opened(machine, directory) as fd:
                for name in os.listdir(fd) if fd is not None else ():
                    with contextlib.suppress(FileNotFoundError):
                        found[directory, name] = _number(os.stat(name, dir_fd=fd, follow_symlinks=False))
        return found

    def remove(self, machine: str, directory: str, name: str) -> None:
        """Remove one; what can't be removed, a directory or an immutable file, is the container's root's own doing."""
        with self._opened(machine, directory) as fd:
            if fd is not None:
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=fd)

    def inside(self, root_fd: int, path: str) -> str:
        """Give the number of the device node at an absolute path inside; "" if there is none."""
        try:
            with rootfs.opened(root_fd, path.lstrip("/"), os.O_PATH | os.O_NOFOLLOW) as fd:
                return _number(os.fstat(fd))
        except OSError:
            return ""

    @contextlib.contextmanager
    def _opened(self, machine: str, directory: str) -> Iterator[int | None]:
        fd = None
        with contextlib.suppress(OSError, UnsafePath):
            base_fd = os.open(self._base, _OPEN | os.O_CLOEXEC)
            try:
                fd = rootfs.open_directory(base_fd, f"{machine}/{directory}", machine)
            finally:
                os.close(base_fd)
        try:
            yield fd
        finally:
            if fd is not None:
                os.close(fd)


def _number(status: os.stat_result) -> str:
    if not stat.S_ISCHR(status.st_mode):
        return ""
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
