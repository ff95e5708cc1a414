"""Which file descriptors may enter a container: pipes, stream sockets, /dev/null; nothing else."""

import contextlib
import fcntl
import os
import socket
import stat

from isod_contract.errors import UnsafeFd

_DEV_NULL = os.makedev(1, 3)


def close_all(*fds: int | None) -> None:
    """Close those that are there."""
    for fd in fds:
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)


def check(fd: int, argument: str, *, reads: bool) -> bool:
    """Tell whether to pass the fd on (true) or to use the container's own /dev/null (false). Raises UnsafeFd.

    A regular file could be reopened for writing through /proc/self/fd, a directory is a way out to the host's root,
    a terminal takes injected input (CVE-2017-5226); all measured or published, so only three kinds are left.
    """
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if flags & os.O_PATH:
        raise UnsafeFd(argument=argument, reason="opened with O_PATH")
    status = os.fstat(fd)
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


def check_lifetime(fd: int) -> None:
    """Refuse a `lifetime` that is not the read end of a pipe. Raises UnsafeFd."""
    if not stat.S_ISFIFO(os.fstat(fd).st_mode) or fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_PATH | os.O_ACCMODE):
        raise UnsafeFd(argument="lifetime", reason="not the read end of a pipe")
