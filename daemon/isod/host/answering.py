"""Paths in a container on whose way the kernel alone answers, each component by descriptor and looked at before use.

What a link says is followed like the rest: openat2(2) by itself would ask any file system on its way.
"""

import contextlib
import os
import stat
import time
from collections.abc import Iterator, Sequence

from isod.host import rootfs
from isod.host.mount_table import Mount, answers
from isod.host.processes import fd_info

_LINKS_MAX = 40  # as many as the kernel follows (path_resolution(7))
_DEPTH_MAX = 64  # directories that are held open at once, for the `..` of links
# Of all that is looked at in one container: a doctor's look takes some hundred steps and a few milliseconds. The
# container's files answer for one call at a time, and one of more than 5 s ends that (isod.host.offload).
_STEPS_MAX = 2048
_LOOK_SEC = 2.0


class MayNeverAnswerError(OSError):
    """On the way lies a file system behind which stands a program or another machine."""


class TooMuchError(OSError):
    """A container's links and mounts take more than one look may cost."""


class Budget:
    """What one look may cost, whatever a container makes of its paths."""

    def __init__(self) -> None:
        """Begin the time."""
        self._until_sec = time.monotonic() + _LOOK_SEC
        self._steps_left = _STEPS_MAX

    def step(self) -> None:
        """Take one step. Raises TooMuchError once there are none left, and for all later ones."""
        self._steps_left -= 1
        if self._steps_left < 0 or time.monotonic() > self._until_sec:
            raise TooMuchError(f"its links and mounts take more than {_STEPS_MAX} steps or {_LOOK_SEC:.0f} s")


class Answering:
    """A container's files, as its init sees them by its table of mounts. One budget is for all that is opened."""

    def __init__(self, root_fd: int, mounts: Sequence[Mount], budget: Budget) -> None:
        """Borrow the root: whatever file system it is on, a container that boots from that depends on it in all."""
        self._root_fd = root_fd
        self._budget = budget
        self._answering = {mount.number for mount in mounts if answers(mount)}
        # By place: ten thousand mounts may not cost each step of a path a look at each.
        self._unanswering = {mount.place: mount.kind for mount in mounts if mount.place != "/" and not answers(mount)}

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """Hold what is at the end of an absolute path and its links, as O_PATH.

        Raises OSError: MayNeverAnswerError where on the way somebody else than the kernel has to answer, TooMuchError.
        """
        here: list[tuple[str, int]] = []  # the way from the root without links: paths, descriptors
        try:
            self._walk(path, here)
            yield here[-1][1] if here else self._root_fd
        finally:
            _cut(here, 0)

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

    def _walk(self, path: str, here: list[tuple[str, int]]) -> None:
        """Go along a path and its links; whoever calls closes what is left in `here`, whose end is that of the path."""
        waiting = _names(path)
        links_left = _LINKS_MAX
        while waiting:
            self._budget.step()
            name = waiting.pop()
            if name == "..":
                _cut(here, max(len(here) - 1, 0))
                continue
            place, fd = self._open(here, name)
            here.append((place, fd))
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                links_left -= 1
                if links_left < 0:
                    raise OSError("its links have no end")
                target = os.readlink("", dir_fd=fd)
                _cut(here, 0 if target.startswith("/") else len(here) - 1)
                waiting.extend(_names(target))
            elif len(here) > _DEPTH_MAX:
                raise TooMuchError(f"its links lead more than {_DEPTH_MAX} directories down")

    def _open(self, here: list[tuple[str, int]], name: str) -> tuple[str, int]:
        """Open a name in a directory that answers; a mount is crossed without asking what is mounted."""
        above, directory_fd = here[-1] if here else ("", self._root_fd)
        # What is mounted further up was looked for on the way there.
        place = f"{above}/{name}"
        if kind := self._unanswering.get(place):
            raise MayNeverAnswerError(f"on the way lies a file system of type {kind}, which may never answer")
        fd = rootfs.openat2(directory_fd, name, os.O_PATH | os.O_NOFOLLOW)
        try:
            mount = _mount_of(fd)
            if mount not in self._answering and mount != _mount_of(self._root_fd):
                raise OSError("what is mounted on the way changes")
        except OSError:
            os.close(fd)
            raise
        return place, fd


def _cut(here: list[tuple[str, int]], depth: int) -> None:
    """Close what lies deeper on the way."""
    while len(here) > depth:
        os.close(here.pop()[1])


def _names(path: str) -> list[str]:
    """Give the components of a path, the first one last."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _mount_of(fd: int) -> int:
    """Give the number of the mount that a descriptor is on; the kernel alone is asked."""
    return int(fd_info(fd)["mnt_id"])
