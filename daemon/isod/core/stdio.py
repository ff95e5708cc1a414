"""Which file descriptors may enter a container: pipes, stream sockets, /dev/null; nothing else."""

import fcntl
import os
import socket
import stat

from isod_contract.errors import UnsafeFd
from isod_kernel import untrusted_fds

_DEV_NULL = os.makedev(1, 3)


def close_all(*fds: int | None) -> None:
    """Close those that are there."""
    for fd in fds:
        if fd is not None:
            untrusted_fds.close(fd)


def check(fd: int, argument: str, *, reads: bool) -> bool:
    """Tell whether to pass the fd on (true) or to use the container's own /dev/null (false). Raises UnsafeFd.

    A regular file could be reopened for writing through /proc/self/fd, a directory is a way out to the host's root,
    a terminal takes injected input (CVE-2017-5226); all measured or published, so only three kinds are left.
    """
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if flags & os.O_PATH:
        raise UnsafeFd(argument=argument, reason="opened with O_PATH")
    status = untrusted_fds.status(fd)
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == _DEV_NULL:
        return False
    if stat.S_ISSOCK(status.st_mode):
        with socket.socket(fileno=os.dup(fd)) as sock:
            if sock.type == socket.SOCK_STREAM and sock.family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
                return True
        raise UnsafeFd(argument=argument, reason="a socket that is not a stream")
    if stat.S_ISFIFO(status.st_mode):
        mode = flags & os.O_ACCMODE
        if mode not in (os.O_RDWR, os.O_RDONLY if reads else os.O_WRONLY):
            raise UnsafeFd(argument=argument, reason="the wrong end of a pipe")
        return True
    kinds = {
        stat.S_IFREG: "a regular file",
        stat.S_IFDIR: "a directory",
        stat.S_IFCHR: "a character device",
        stat.S_IFBLK: "a block device",
    }
    raise UnsafeFd(argument=argument, reason=kinds.get(stat.S_IFMT(status.st_mode), "an anonymous file"))


def own_lifetime(fd: int) -> int:
    """Give a `lifetime` with an open file description of isod's own, and close the caller's.

    A caller may give one pipe for many apps. systemd keeps but one descriptor of each description (service.c,
    service_add_fd_store), so all but the first of them would be lost with isod, and their apps ended. Flags that isod
    sets are not the caller's either.

    Raises UnsafeFd for anything but the read end of a pipe without a name, OSError; then the caller's is still open.
    """
    status = untrusted_fds.status(fd)
    if not stat.S_ISFIFO(status.st_mode) or fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_PATH | os.O_ACCMODE):
        raise UnsafeFd(argument="lifetime", reason="not the read end of a pipe")
    if not untrusted_fds.is_unnamed_pipe(fd):
        # Opening one of a file system may ask that file system, which may be a user's and never answer.
        raise UnsafeFd(argument="lifetime", reason="a pipe with a name")
    own = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.close(fd)
    return own
