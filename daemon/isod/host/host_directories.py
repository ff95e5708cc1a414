"""Directories of the host that callers have open, as paths in containers that see them too.

Nothing of the host is opened, and no path of a caller's is believed: the kernel says of their descriptor which mount it
is on and where below that, and which mounts the container's first process has (proc(5), mountinfo).
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from isod.directory_ports import HostDirectory
from isod.host import rootfs
from isod.host.survey import pid_of
from isod_contract.errors import InvalidArgument
from isod_kernel import untrusted_fds

# Root in a container makes as many mounts as fs.mount-max of the host allows; what lies further down is not found.
_MOUNTS_BYTES_MAX = 4 << 20
_ESCAPED = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of mountinfo."""

    id: int
    parent: int
    device: str  # MAJOR:MINOR of the file system
    root: str  # what of that file system is mounted
    point: str  # where, for the process


class HostDirectories:
    """Adapter of `CallersDirectories`."""

    def locate(self, untrusted_fd: int, caller_pid: int) -> HostDirectory:
        """Take note of where a caller's directory is, and close it. Raises InvalidArgument. No file system is asked."""
        try:
            if not stat.S_ISDIR(untrusted_fds.status(untrusted_fd).st_mode):
                raise InvalidArgument(argument="directory-fd", reason="is no directory")
            path = os.readlink(f"/proc/self/fd/{untrusted_fd}")
            with open(f"/proc/self/fdinfo/{untrusted_fd}") as lines:
                values = dict(line.partition(":")[::2] for line in lines)
        except OSError as error:
            raise InvalidArgument(argument="directory-fd", reason=f"can't be used ({error.strerror})") from None
        finally:
            untrusted_fds.close(untrusted_fd)
        return HostDirectory(path, int(values.get("mnt_id", "-1")), caller_pid)

    async def path_inside(self, guest: Any, directory: HostDirectory) -> str:
        """Give the path of the caller's directory in a running container; "" where that does not see it.

        Raises UnsafePath, ContainerGone, LimitExceeded.
        """
        found: str = await guest.offload.run(lambda: _path_inside(guest.pidfd, directory))
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
    own = [mount for mount in _mounts_of(directory.pid) if mount.id == directory.mount]
    pid = pid_of(leader)
    mounts = list(_mounts_of(pid))
    # If it ended meanwhile, the number may be another's.
    if not own or pid_of(leader) != pid:
        return ""
    return translated(directory.path, own[0], mounts)


def translated(path: str, mount: Mount, mounts: Iterable[Mount]) -> str:
    """Give a path below a mount as one below other mounts of the same file system; "" where none shows it.

    The path itself is preferred if it is the same directory there, then the mount that shows least beside it.
    """
    below = _below(path, mount.point)
    if below is None:
        return ""
    wanted, tree = _joined(mount.root, below), list(mounts)
    found = []
    for candidate in tree:
        rest = _below(wanted, candidate.root) if candidate.device == mount.device else None
        if rest is None:
            continue
        there = _joined(candidate.point, rest)
        if _covering(there, tree) == candidate:
            found.append((there == path, len(candidate.root), there))
    return max(found)[2] if found else ""


def _covering(path: str, mounts: list[Mount]) -> Mount | None:
    """Give the mount on which a path is: others may be mounted over what it passes."""
    ids = {mount.id for mount in mounts}
    current = next((mount for mount in mounts if mount.parent not in ids or mount.parent == mount.id), None)
    while current is not None:
        on_way = [
            mount
            for mount in mounts
            if mount.parent == current.id != mount.id and _below(path, mount.point) is not None
        ]
        if not on_way:
            return current
        current = min(on_way, key=lambda mount: len(mount.point))
    return None


def _below(path: str, top: str) -> str | None:
    """Give the rest of a path below a directory, "" for that itself; None if it is elsewhere."""
    top = top.rstrip("/")
    return path[len(top) :].strip("/") if path == top or path.startswith(top + "/") else None


def _joined(top: str, below: str) -> str:
    return f"{top.rstrip('/')}/{below}".rstrip("/") or "/"


def _mounts_of(pid: int) -> Iterator[Mount]:
    """Give the mounts of a process, none if it has ended. The paths are for its own root."""
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            data = file.read(_MOUNTS_BYTES_MAX)
    except OSError:
        return
    for line in data.split(b"\n")[:-1]:
        number, parent, device, root, point = line.split(b" ")[:5]
        yield Mount(int(number), int(parent), device.decode(), _unescaped(root), _unescaped(point))


def _unescaped(field: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), field))
