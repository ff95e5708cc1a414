"""The mount calls that work on descriptors: open_tree(2), mount_setattr(2), move_mount(2), setns(2), openat2(2)."""

import ctypes
import os
import struct

_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442  # the same numbers on all architectures
_OPEN_TREE_CLONE = 1
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_MOVE_EMPTY_PATHS = 0x04 | 0x40  # MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
_RESOLVE = 0x08 | 0x04 | 0x02  # RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_REC, _MS_PRIVATE, _MS_SHARED = 1 << 14, 1 << 18, 1 << 20
_MNT_DETACH = 2
_STATFS_BYTES = 256  # more than struct statfs has on any architecture; its first field, a word, is the type
READ_ONLY, NO_SUID, NO_DEV, NO_EXEC, ID_MAPPED = 0x1, 0x2, 0x4, 0x8, 0x100000  # mount_setattr(2)

_libc = ctypes.CDLL(None, use_errno=True)


def open_beneath(directory_fd: int, path: str, flags: int) -> int:
    """Open a relative path that may neither leave the directory nor cross a symlink. Raises OSError."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, _RESOLVE)
    return _syscall(_OPENAT2, directory_fd, path.encode(), how, len(how))


def clone(fd: int, *, whole: bool = False) -> int:
    """Give a detached copy of the mount that a descriptor leads to, with that as its root. Raises OSError.

    `whole`: with the mounts below it.
    """
    below = _AT_RECURSIVE if whole else 0
    return _syscall(_OPEN_TREE, fd, b"", _OPEN_TREE_CLONE | _AT_EMPTY_PATH | below | os.O_CLOEXEC)


def restrict(tree_fd: int, attributes: int, user_namespace_fd: int = 0) -> None:
    """Make detached mounts private, so that nothing mounted over them is seen elsewhere, and set attributes.

    Raises OSError.
    """
    arguments = struct.pack("=QQQQ", attributes, 0, _MS_PRIVATE, user_namespace_fd)
    _syscall(_MOUNT_SETATTR, tree_fd, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, arguments, len(arguments))


def attach(tree_fd: int, target_fd: int) -> None:
    """Mount a detached mount over what a descriptor (O_PATH) leads to. Raises OSError."""
    _syscall(_MOVE_MOUNT, tree_fd, b"", target_fd, b"", _MOVE_EMPTY_PATHS)


def detach(target_fd: int, own_fds_fd: int) -> None:
    """Unmount the mount whose root a descriptor is, without a path that is looked up.

    `own_fds_fd` is the host's /proc/self/fd: a container's own /proc does not show us. Raises OSError.
    """
    os.fchdir(own_fds_fd)
    _checked(_libc.umount2(b"%d" % target_fd, _MNT_DETACH))


def file_system_of(fd: int) -> int:
    """Give the magic number of the file system that a descriptor (O_PATH too) is in (fstatfs(2)). Raises OSError."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    _checked(_libc.fstatfs(fd, buffer))
    return int(ctypes.cast(buffer, ctypes.POINTER(ctypes.c_long))[0])


def enter_mount_namespace(pidfd: int) -> None:
    """Make the mount namespace of a process ours, its root included. Raises OSError."""
    _checked(_libc.setns(pidfd, _CLONE_NEWNS))


def enter_user_namespace(user_namespace_fd: int) -> None:
    """Join a user namespace, with all capabilities in it and none elsewhere. Raises OSError."""
    _checked(_libc.setns(user_namespace_fd, _CLONE_NEWUSER))


def own_mount_namespace() -> None:
    """Take a mount namespace of our own, a copy of the one before, owned by our user namespace. Raises OSError."""
    _checked(_libc.unshare(_CLONE_NEWNS))


def make_all_private() -> None:
    """Let no mount that is made from now on reach another namespace. Raises OSError."""
    _checked(_libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))


def share(tree_fd: int) -> None:
    """Have what is mounted over a mount appear in its copies too. Raises OSError."""
    arguments = struct.pack("=QQQQ", 0, 0, _MS_SHARED, 0)
    _syscall(_MOUNT_SETATTR, tree_fd, b"", _AT_EMPTY_PATH, arguments, len(arguments))


def _syscall(number: int, *arguments: "int | bytes") -> int:
    converted = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    return _checked(_libc.syscall(number, *converted))


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
