"""Make copies of the host's device nodes in a container's tmpfs below /run/isod/container."""

import contextlib
import os
import stat

from isod_contract import names
from isod_helper import fields
from isod_helper.prepare import UnsafeDirectory, base_directory, make_directory, open_own

_DIRECTORIES = ("dri", names.NODE_DIRECTORY)


def make_node(request: dict[str, object], fds: list[int]) -> None:
    """Make /run/isod/container/MACHINE/DIRECTORY/NAME a copy of the host's node that the descriptor (O_PATH) is.

    Who can open the copy is decided by who sees it and by the DeviceAllow of the container's unit, so its mode is 0666;
    owner and mode of the host's node stay as they are. Raises ValueError, OSError.
    """
    machine, directory, name = (fields.name(request, key) for key in ("machine", "directory", "name"))
    fields.check_rest(request, fds, count=1)
    if directory not in _DIRECTORIES:
        raise ValueError("no such directory")
    wanted = os.fstat(fds[0])
    if not stat.S_ISCHR(wanted.st_mode):
        raise ValueError("that is not a character device")
    with contextlib.ExitStack() as opened:
        directory_fd = _open_directory(opened, machine, directory)
        os.umask(0)
        os.mknod(name, stat.S_IFCHR | 0o666, wanted.st_rdev, dir_fd=directory_fd)


def _open_directory(opened: contextlib.ExitStack, machine: str, directory: str) -> int:
    """Open a directory of a container's tmpfs until `opened` ends. Raises ValueError, OSError."""
    try:
        base_fd = opened.enter_context(base_directory())
        machine_fd = open_own(machine, base_fd)
        opened.callback(os.close, machine_fd)
        if os.fstat(machine_fd).st_dev == os.fstat(base_fd).st_dev:
            raise ValueError("that container has no directory of its own")
        if directory == names.NODE_DIRECTORY:
            make_directory(directory, machine_fd, 0o700)
        directory_fd = open_own(directory, machine_fd)
    except UnsafeDirectory as error:
        raise ValueError(str(error)) from None
    opened.callback(os.close, directory_fd)
    return directory_fd
