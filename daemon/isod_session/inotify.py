"""inotify(7), as far as it takes to learn that something was made in a directory."""

import ctypes
import os

_IN_CREATE, _IN_MOVED_TO, _IN_ATTRIB = 0x100, 0x80, 0x4
_READ_BYTES = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


def watch_directory(path: str) -> int:
    """Give a descriptor that is readable once something is made in a directory. Raises OSError."""
    fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0 or _libc.inotify_add_watch(fd, os.fsencode(path), _IN_CREATE | _IN_MOVED_TO | _IN_ATTRIB) < 0:
        code = ctypes.get_errno()
        if fd >= 0:
            os.close(fd)
        raise OSError(code, os.strerror(code), path)
    return int(fd)


def drain(fd: int) -> None:
    """Throw away what has come."""
    try:
        while os.read(fd, _READ_BYTES):
            pass
    except BlockingIOError:
        return
