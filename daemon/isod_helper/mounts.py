"""mount(2) and umount(2), on directories that are held by descriptor."""

import ctypes
import os

_MS_NOSUID = 2
_MS_NOEXEC = 8
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def mount_tmpfs(directory_fd: int, options: str) -> None:
    """Mount a tmpfs over a directory; device nodes in it work. Raises OSError."""
    _call(_libc.mount, b"tmpfs", _path(directory_fd), b"tmpfs", _MS_NOSUID | _MS_NOEXEC, options.encode())


def make_private(directory_fd: int) -> None:
    """Let no mount made below this one reach another namespace, or come from one. Raises OSError."""
    _call(_libc.mount, None, _path(directory_fd), None, _MS_PRIVATE, None)


def detach(directory_fd: int) -> None:
    """Unmount the file system whose root a descriptor is, now or when its last user leaves. Raises OSError."""
    _call(_libc.umount2, _path(directory_fd), _MNT_DETACH)


def _path(directory_fd: int) -> bytes:
    # A link of /proc leads to what the descriptor is, whatever stands under its name by now.
    return b"/proc/self/fd/%d" % directory_fd


def _call(function: "ctypes._FuncPointer", *arguments: "bytes | int | None") -> None:
    converted = [ctypes.c_ulong(item) if isinstance(item, int) else item for item in arguments]
    if function(*converted) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
