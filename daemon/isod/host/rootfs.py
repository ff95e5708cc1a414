"""A container's file system by fds only: openat2(2) from its root, one component at a time, never a path string."""

import contextlib
import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterator, Sequence

from isod_contract.errors import NoSpace, UnsafePath

_SYS_OPENAT2 = 437  # the same number on all architectures (openat2(2))
_RESOLVE = 0x08 | 0x04 | 0x02  # RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_RESOLVE_NO_XDEV = 0x01
_RESOLVE_IN_ROOT = 0x10 | 0x02  # RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_TABLE_BYTES_MAX = 1024 * 1024
_ATTEMPTS_MAX = 1000

_libc = ctypes.CDLL(None, use_errno=True)


def openat2(directory_fd: int, path: str, flags: int) -> int:
    """Open a relative path that may not leave the directory or cross any symlink; raises OSError."""
    return _open(directory_fd, path, flags, _RESOLVE)


def open_in_root(root_fd: int, path: str, flags: int, *, same_file_system: bool = False) -> int:
    """Open a path as it is for a process with that root, symlinks included; only to read. Raises OSError.

    With `same_file_system` no mount below the root is entered, nor asked anything: EXDEV.
    """
    return _open(root_fd, path, flags, _RESOLVE_IN_ROOT | (_RESOLVE_NO_XDEV if same_file_system else 0))


def is_there(root_fd: int, path: str) -> bool:
    """Tell whether a path is there for a process with that root, at the end of its symlinks."""
    try:
        os.close(open_in_root(root_fd, path, os.O_PATH))
    except OSError:
        return False
    return True


def lacks(root_fd: int, path: str, uid: int) -> bool:
    """Tell whether an account (uid on the host) sees that an absolute path is not there. Raises OSError.

    False where it may not look, by the mode of a directory on the way, and behind symlinks: isod looks with rights that
    the account lacks, and must not tell it of others' files. A directory counts as open to the account as one of its
    group and as one of all others, since an ACL or another group of its may take away what one of them gives.
    """
    names = [name for name in path.split("/") if name not in ("", ".")]
    current = os.dup(root_fd)
    try:
        for name in names:
            status = os.fstat(current)
            needed = 0o100 if status.st_uid == uid else 0o011
            if name == ".." or not stat.S_ISDIR(status.st_mode) or status.st_mode & needed != needed:
                return False
            try:
                below = openat2(current, name, os.O_PATH | os.O_NOFOLLOW)
            except FileNotFoundError:
                return True
            os.close(current)
            current = below
    finally:
        os.close(current)
    return False


def _open(directory_fd: int, path: str, flags: int, resolve: int) -> int:
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)
    name = os.fsencode(path)  # names in a container may be no UTF-8
    if b"\0" in name:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    number = errno.EAGAIN
    for _ in range(_ATTEMPTS_MAX):
        fd = int(_libc.syscall(_SYS_OPENAT2, directory_fd, name, how, len(how)))
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):  # EAGAIN: the tree was renamed meanwhile
            break
    # A container that renames without end must not keep this going without end.
    raise OSError(number, os.strerror(number), path)


@contextlib.contextmanager
def opened(directory_fd: int, path: str, flags: int) -> Iterator[int]:
    """Hold what openat2 gives, closed at the end."""
    fd = openat2(directory_fd, path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def unsafe(container: str, path: str, error: OSError) -> UnsafePath | NoSpace:
    """Give what an error of the system means for a path in a container."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(what=f"{path} in container {container}", reason=os.strerror(error.errno))
    reasons = {errno.ELOOP: "a symbolic link is in the way", errno.ENOTDIR: "not a directory"}
    return UnsafePath(path="/" + path, container=container, reason=reasons.get(error.errno or 0, str(error.strerror)))


def open_directory(root_fd: int, path: str, container: str) -> int | None:
    """Open a directory below the root; None where it does not exist. Raises UnsafePath."""
    try:
        return openat2(root_fd, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unsafe(container, path, error) from None


def open_socket(root_fd: int, path: str, container: str) -> int | None:
    """Open a socket below the root as O_PATH; None where it does not exist. Raises UnsafePath."""
    try:
        fd = openat2(root_fd, path, os.O_PATH | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unsafe(container, path, error) from None
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        os.close(fd)
        raise UnsafePath(path="/" + path, container=container, reason="not a socket")
    return fd


def read_link(root_fd: int, path: str) -> str:
    """Give what a symbolic link below the root says, without following it; "" for anything else."""
    try:
        fd = openat2(root_fd, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        return os.readlink("", dir_fd=fd)
    except OSError:
        return ""
    finally:
        os.close(fd)


def is_directory_of(root_fd: int, path: str, container: str, *, owner_uid: int, mode: int) -> bool:
    """Tell whether a directory is there with this owner and mode. Raises UnsafePath for anything but a directory."""
    fd = open_directory(root_fd, path, container)
    if fd is None:
        return False
    try:
        status = os.fstat(fd)
    finally:
        os.close(fd)
    return status.st_uid == owner_uid and stat.S_IMODE(status.st_mode) == mode


def ensure_directory(
    root_fd: int,
    components: Sequence[str],
    container: str,
    *,
    root_uid: int,
    owner: tuple[int, int],
    mode: int,
) -> None:
    """Make the last component a directory with this owner (uid, gid on the host) and mode; parents root's, 0755.

    Never changes the owner of anything that this call did not make. Raises UnsafePath, NoSpace.
    """
    parent_fd = os.dup(root_fd)
    try:
        for position, name in enumerate(components):
            last = position == len(components) - 1
            wanted = (owner, mode) if last else ((root_uid, root_uid), 0o755)
            path = "/".join(components[: position + 1])
            child_fd = _ensure_one(parent_fd, name, path, container, owner=wanted[0], mode=wanted[1], exact=last)
            os.close(parent_fd)
            parent_fd = child_fd
    finally:
        os.close(parent_fd)


def _ensure_one(
    parent_fd: int, name: str, path: str, container: str, *, owner: tuple[int, int], mode: int, exact: bool
) -> int:
    try:
        created = True
        try:
            os.mkdir(name, 0o700, dir_fd=parent_fd)
        except FileExistsError:
            created = False
        fd = openat2(parent_fd, name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise unsafe(container, path, error) from None
    try:
        status = os.fstat(fd)
        if created and status.st_uid in (0, owner[0]):
            # Owner before mode: the other way round somebody else could enter in between.
            os.fchown(fd, *owner)
            os.fchmod(fd, mode)
        elif exact and status.st_uid != owner[0]:
            raise UnsafePath(
                path="/" + path, container=container, reason=f"owned by uid {status.st_uid}, not {owner[0]}"
            )
        elif exact and stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(fd, mode)
    except OSError as error:
        os.close(fd)
        raise unsafe(container, path, error) from None
    except UnsafePath:
        os.close(fd)
        raise
    return fd


def read_table(root_fd: int, path: str, container: str) -> bytes:
    """Read a table of accounts (passwd(5), group(5)): a regular file, at most 1 MiB. Raises UnsafePath."""
    try:
        with opened(root_fd, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) as fd:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _TABLE_BYTES_MAX:
                raise UnsafePath(path="/" + path, container=container, reason="not a regular file of at most 1 MiB")
            return os.read(fd, _TABLE_BYTES_MAX)
    except OSError as error:
        raise unsafe(container, path, error) from None
