"""Make a container's directory below /run/isod/container, with or without isod running (see systemd-units/).

It is a tmpfs of the container's own: small, since root in a container without user namespacing can write to it, and
private, since a mount made by that root on a shared one would appear on the host.
"""

import fcntl
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from isod_contract import names
from isod_helper import mounts
from isod_helper.rootcheck import UnsafeRoot, check_roots

# The host's users get no way in: sockets in there are guarded by their directories, but device nodes are open to all.
_ROOT_MODE = 0o700
# Room for a file for each unit that is being started: as many as isod lets be started at once, each as large as a call
# may be. In a file system of its own within this one they would be kept apart from what users are given; but a mount
# below a private mount is never seen to go by those who have mounts of their own, isod and its helper.
_TMPFS_OPTIONS = f"size=64M,nr_inodes=4096,mode={_ROOT_MODE:o}"
_SUBDIRECTORIES = (names.SHOWN_RUN, "dri")
# Enough for what isod puts there; less than this is left by a container that filled it.
_FREE_INODES_MIN = 2048
_FREE_BYTES_MIN = 32 << 20
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Wider than isod's own rule: a drop-in brings every container of the host here, and must not break one.
_MACHINE = re.compile(r"(?!-|\.{1,2}\Z)[A-Za-z0-9:_.-]{1,255}")


class UnsafeDirectory(Exception):
    """What stands at the place of a directory is not one that root alone can write."""


@contextmanager
def base_directory(root: str = "/") -> Iterator[int]:
    """Make what tmpfiles.d/isod.conf makes below /run, and yield an fd of the directory of containers.

    `root` is another root directory, for tests. Raises UnsafeDirectory, OSError.
    """
    parts = names.CONTAINER_DIRECTORY.strip("/").split("/")
    fd = os.open(os.path.join(root, parts[0]), _OPEN)
    try:
        for part in parts[1:]:
            if part == os.path.basename(names.CONTAINER_DIRECTORY):
                make_directory(os.path.basename(names.STATE_DIRECTORY), fd, 0o700)
            make_directory(part, fd, 0o755)
            inner = open_own(part, fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def prepare(machine: str, root: str = "/") -> None:
    """Make the container's directory before the container starts, or find that it is there.

    Raises UnsafeDirectory, OSError.
    """
    with base_directory(root) as base_fd:
        # isod may do the same at this moment.
        fcntl.flock(base_fd, fcntl.LOCK_EX)
        make_directory(machine, base_fd, 0o755)
        fd = open_own(machine, base_fd)
        try:
            if _is_mounted(fd, base_fd) and not _is_intact(fd):
                # Root in the container has been at it; the container is about to start, so nobody needs what is left.
                mounts.detach(fd)
                # With its place it goes from all mount namespaces; from isod's the call above alone does not take it,
                # since there something is mounted in it.
                os.rmdir(machine, dir_fd=base_fd)
                make_directory(machine, base_fd, 0o755)
                fd = _reopen(machine, base_fd, fd)
            if not _is_mounted(fd, base_fd):
                mounts.mount_tmpfs(fd, _TMPFS_OPTIONS)
                # The old descriptor is the directory below the mount.
                fd = _reopen(machine, base_fd, fd)
            os.fchmod(fd, _ROOT_MODE)
            mounts.make_private(fd)
            for name in _SUBDIRECTORIES:
                make_directory(name, fd, 0o755)
                os.close(open_own(name, fd))
        finally:
            os.close(fd)


@contextmanager
def _opened(name: str, parent_fd: int) -> Iterator[int]:
    fd = os.open(name, _OPEN, dir_fd=parent_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _reopen(name: str, parent_fd: int, old_fd: int) -> int:
    fd = open_own(name, parent_fd)
    os.close(old_fd)
    return fd


def make_directory(name: str, parent_fd: int, mode: int) -> None:
    """Make a directory with exactly this mode, unless one is there. Raises UnsafeDirectory, OSError."""
    try:
        os.mkdir(name, mode, dir_fd=parent_fd)
    except FileExistsError:
        return
    # The umask may have taken bits away; what exists already is the administrator's.
    fd = open_own(name, parent_fd)
    try:
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def open_own(name: str, parent_fd: int) -> int:
    """Open a directory that belongs to us and that nobody else can write."""
    try:
        fd = os.open(name, _OPEN, dir_fd=parent_fd)
    except OSError as error:
        raise UnsafeDirectory(f"{name}: {error.strerror}") from None
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        os.close(fd)
        raise UnsafeDirectory(f"{name}: others can write it")
    return fd


def _is_mounted(fd: int, parent_fd: int) -> bool:
    return os.fstat(fd).st_dev != os.fstat(parent_fd).st_dev


def _is_intact(fd: int) -> bool:
    """Tell whether there is room in it, and each subdirectory is as it was made."""
    space = os.fstatvfs(fd)
    if space.f_favail < _FREE_INODES_MIN or space.f_bavail * space.f_frsize < _FREE_BYTES_MIN:
        return False
    for name in _SUBDIRECTORIES:
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o7777 != 0o755:
            return False
    return _is_run_intact(fd)


def _is_run_intact(parent_fd: int) -> bool:
    """Tell whether nothing but directories stands there, those of users, where isod makes what they hold anew.

    The one for launches must be empty.
    """
    with _opened(names.SHOWN_RUN, parent_fd) as fd:
        with os.scandir(fd) as entries:
            if not all(entry.is_dir(follow_symlinks=False) for entry in entries):
                return False
        try:
            with _opened(names.LAUNCH_DIRECTORY, fd) as launch_fd:
                return not os.listdir(launch_fd)
        except FileNotFoundError:
            return True


def main(arguments: Sequence[str]) -> int:
    """`isod-prepare NAME`, or `--directories` for those that all containers share; gives the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: isod-prepare NAME | --directories\n")
        return 2
    machine = arguments[0]
    if machine != "--directories" and not _MACHINE.fullmatch(machine):
        sys.stderr.write(f"isod-prepare: {machine!a} is not the name of a container\n")
        return 2
    try:
        if machine == "--directories":
            with base_directory():
                return 0
        prepare(machine)
        check_roots(machine)
    except UnsafeRoot as error:
        sys.stderr.write(
            f"isod-prepare: container {machine} must not start: in its root {error}; repair it from here\n"
        )
        return 1
    except UnsafeDirectory as error:
        sys.stderr.write(f"isod-prepare: {names.CONTAINER_DIRECTORY}: {error}; remove it\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"isod-prepare: {names.CONTAINER_DIRECTORY}/{machine}: {error.strerror}\n")
        return 1
    return 0
