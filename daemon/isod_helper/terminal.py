"""Make a terminal of a container's own, from its own devpts (pts(4)), without a wait for anything that it put there."""

import fcntl
import os
import stat
import struct

from isod_helper import fields, mountapi
from isod_helper.attach import as_root_of

_PTMX = "dev/pts/ptmx"  # what /dev/ptmx leads to in a container that is as systemd-nspawn(1) makes it
_PTMX_NUMBER = os.makedev(5, 2)  # admin-guide/devices.rst
_DEVPTS_MAGIC = 0x1CD1  # statfs(2)
_TIOCSPTLCK = 0x40045431  # ioctl_tty(2)
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def open_terminal(request: dict[str, object], fds: list[int]) -> int:
    """Give the master of a new, unlocked terminal; its slave belongs to the container's root.

    One descriptor: the container's root directory (O_PATH). `uid_shift` is the host's uid of the container's root. What
    stands at /dev/pts/ptmx is opened only once it is known to be the kernel's: a lease, a FIFO or a FUSE file would
    hold whoever opens it. Raises ValueError, OSError.
    """
    shift = fields.number(request, "uid_shift")
    fields.check_rest(request, fds, count=1)
    own_fds_fd = os.open("/proc/self/fd", _PATH & ~os.O_NOFOLLOW | os.O_DIRECTORY)
    ptmx_fd = mountapi.open_beneath(fds[0], _PTMX, _PATH)
    if not _is_ptmx(ptmx_fd):
        raise ValueError("/dev/pts/ptmx in it is not that of a devpts")
    masters: list[int] = []
    # As its root: a slave that belongs to nobody inside could not be given to the app's account.
    as_root_of(shift, lambda: masters.append(_open(ptmx_fd, own_fds_fd)))
    master = masters[0]
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    os.set_blocking(master, True)
    return master


def _is_ptmx(fd: int) -> bool:
    status = os.fstat(fd)
    is_number = stat.S_ISCHR(status.st_mode) and status.st_rdev == _PTMX_NUMBER
    return is_number and mountapi.file_system_of(fd) == _DEVPTS_MAGIC


def _open(ptmx_fd: int, own_fds_fd: int) -> int:
    # By the link of /proc to what was looked at, not by a path that may lead elsewhere by now.
    flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(str(ptmx_fd), flags, dir_fd=own_fds_fd)
