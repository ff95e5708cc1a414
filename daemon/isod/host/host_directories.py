"""Directories of the host that callers have open, as paths in containers that see them too.

Nothing of the host is opened, and no path of a caller's is believed: the kernel says of their descriptor which mount it
is on and where below that, and which mounts the container's first process has (proc(5), mountinfo).
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from isod.directory_ports import HostDirectory
from isod.host import rootfs
from isod.host.mount_table import Mount, below, read_mounts
from isod.host.processes import fd_info, pid_of
from isod_contract.errors import InvalidArgument, UnsafePath
from isod_kernel import untrusted_fds

# Of as many places that may show a directory those that fit best are looked at: each costs a way through the mounts.
_CANDIDATES_MAX = 64
# What the kernel answers for the mounts of a process that has ended: EINVAL before its parent has taken note of it.
_ENDED = (errno.ENOENT, errno.ESRCH, errno.EINVAL)


class HostDirectories:
    """Adapter of `CallersDirectories`."""

    def locate(self, untrusted_fd: int, caller_pid: int) -> HostDirectory:
        """Take note of where a caller's directory is, and close it. Raises InvalidArgument. No file system is asked."""
        try:
            if not stat.S_ISDIR(untrusted_fds.status(untrusted_fd).st_mode):
                raise InvalidArgument(argument="directory-fd", reason="is no directory")
            path = os.readlink(f"/proc/self/fd/{untrusted_fd}")
            mount = int(fd_info(untrusted_fd).get("mnt_id", "-1"))
        except OSError as error:
            raise InvalidArgument(argument="directory-fd", reason=f"can't be used ({error.strerror})") from None
        finally:
            untrusted_fds.close(untrusted_fd)
        return HostDirectory(path, mount, caller_pid)

    async def path_inside(self, guest: Any, directory: HostDirectory) -> str:
        """Give the path of the caller's directory in a running container; "" where that does not see it.

        Raises UnsafePath, also for more mounts than are looked at; ContainerGone, LimitExceeded.
        """
        try:
            found: str = await guest.offload.run(lambda: _path_inside(guest.pidfd, directory))
        except OSError as error:
            reason = f"what is mounted can't be read ({error.strerror or error})"
            raise UnsafePath(path=directory.path, container=guest.machine, reason=reason) from None
        return found

    async def missing(self, guest: Any, account_uid: int, paths: Mapping[str, str]) -> tuple[str, ...]:
        """Give the names of the paths of which the account sees that they are not there. Raises as above."""
        uid = guest.uid_shift + account_uid

        def look() -> tuple[str, ...]:
            return tuple(name for name, path in paths.items() if _lacks(guest.root_fd, path, uid))

        found: tuple[str, ...] = await guest.offload.run(look)
        return found


def _lacks(root_fd: int, path: str, uid: int) -> bool:
    try:
        return rootfs.lacks(root_fd, path, uid)
    except OSError:
        return False


def _path_inside(leader: int, directory: HostDirectory) -> str:
    try:
        own = [mount for mount in read_mounts(directory.pid) if mount.number == directory.mount]
    except OSError as error:
        # Who called has ended, as one may who waits for nothing: where their directory was can't be told any more.
        if error.errno in _ENDED:
            return ""
        raise
    pid = pid_of(leader)
    mounts = read_mounts(pid)
    # If it ended meanwhile, the number may be another's.
    if not own or pid_of(leader) != pid:
        return ""
    return translated(directory.path, own[0], mounts)


def translated(path: str, mount: Mount, mounts: Sequence[Mount]) -> str:
    """Give a path below a mount as one below other mounts of the same file system; "" where none shows it.

    The path itself is preferred if it is the same directory there, then the mount that shows least beside it. What both
    lists hold may be hostile: it takes time in proportion to them. Of more than 64 places the best 64 are looked at.
    """
    rest = below(path, mount.place)
    if rest is None:
        return ""
    wanted = _joined(mount.root, rest)
    shown: dict[str, set[int]] = {}  # the mounts that would show it at a place, if nothing covers them there
    depths: dict[str, int] = {}
    for candidate in mounts:
        deeper = below(wanted, candidate.root) if candidate.device == mount.device else None
        if deeper is not None:
            there = _joined(candidate.place, deeper)
            shown.setdefault(there, set()).add(candidate.number)
            depths[there] = max(depths.get(there, 0), len(candidate.root))
    best = sorted(shown, key=lambda there: (there == path, depths[there], there), reverse=True)[:_CANDIDATES_MAX]
    tree = _Tree(mounts)
    return next((there for there in best if tree.covering(there) in shown[there]), "")


class _Tree:
    """Mounts by what they are mounted on."""

    def __init__(self, mounts: Sequence[Mount]) -> None:
        numbers = {mount.number for mount in mounts}
        self._hops_max = len(mounts)
        self._above: dict[tuple[int, str], int] = {}
        for mount in mounts:
            if mount.parent != mount.number:
                self._above.setdefault((mount.parent, mount.place), mount.number)
        roots = (mount.number for mount in mounts if mount.parent not in numbers or mount.parent == mount.number)
        self._root = next(roots, -1)

    def covering(self, path: str) -> int:
        """Give the mount on which a path is: others may be mounted over what it passes. -1 where there is none."""
        current, hops = self._root, 0
        for place in _on_the_way(path):
            # The list is not read at once, so numbers in it may have come to make a circle.
            while (above := self._above.get((current, place), -1)) >= 0 and hops <= self._hops_max:
                current, hops = above, hops + 1
        return current


def _on_the_way(path: str) -> Iterator[str]:
    """Give the directories that a path passes, from the root to itself."""
    yield "/"
    end = 0
    while path != "/" and end < len(path):
        end = path.find("/", end + 1)
        end = len(path) if end < 0 else end
        yield path[:end]


def _joined(top: str, deeper: str) -> str:
    return f"{top.rstrip('/')}/{deeper}".rstrip("/") or "/"
