"""Mount a device node of a container's tmpfs at its place in the container's /dev, or take it away.

What stands there is one node, since /dev itself is the container's own: a directory of the host's would hide it.
"""

import os
import re
import stat

from isod_contract import names
from isod_helper import fields, mountapi
from isod_helper.attach import Shown, as_root_of, enter, make_directory, show
from isod_helper.prepare import UnsafeDirectory, base_directory, open_own

_ATTRIBUTES = mountapi.NO_SUID | mountapi.NO_EXEC
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACE = re.compile(r"dev(?:/[A-Za-z0-9][A-Za-z0-9_.:+-]{0,63}){1,3}")


def attach_node(request: dict[str, object], fds: list[int]) -> None:
    """Show node/NAME of the container's tmpfs at `place`, a path below dev, where nothing stands yet.

    One descriptor: a pidfd of the container. Raises ValueError, OSError (FileExistsError where something stands).
    """
    machine, name, place = fields.name(request, "machine"), fields.name(request, "name"), _place(request)
    shift = fields.number(request, "uid_shift")
    fields.check_rest(request, fds, count=1)

    def source() -> int:
        try:
            with base_directory() as base_fd:
                node_fd = open_own(names.NODE_DIRECTORY, open_own(machine, base_fd))
        except UnsafeDirectory as error:
            raise ValueError(str(error)) from None
        source_fd = os.open(name, _PATH, dir_fd=node_fd)
        if not stat.S_ISCHR(os.fstat(source_fd).st_mode):
            raise ValueError("that is not a device node")
        return source_fd

    def target(root_fd: int) -> int:
        as_root_of(shift, lambda: _make_place(root_fd, place))
        target_fd = mountapi.open_beneath(root_fd, place, _PATH)
        if not _is_empty_file(target_fd):
            raise FileExistsError(17, "something stands there already")
        return target_fd

    show(Shown(source, _ATTRIBUTES, target), fds[0], shift)


def detach_node(request: dict[str, object], fds: list[int]) -> None:
    """Unmount what `attach_node` put there, and remove its place; one descriptor: a pidfd of the container.

    Raises ValueError, OSError.
    """
    place, shift = _place(request), fields.number(request, "uid_shift")
    fields.check_rest(request, fds, count=1)
    own_fds_fd = os.open("/proc/self/fd", _PATH & ~os.O_NOFOLLOW | os.O_DIRECTORY)
    own_namespace_fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    root_fd = enter(fds[0])
    target_fd = mountapi.open_beneath(root_fd, place, _PATH)
    is_node = stat.S_ISCHR(os.fstat(target_fd).st_mode)
    if is_node and shift:
        # Locked, so nobody unmounts it: it goes with its place, removed from a namespace in which that is a mere file.
        parent, _, name = place.rpartition("/")
        parent_fd = mountapi.open_beneath(root_fd, parent, _PATH | os.O_DIRECTORY)
        if os.fstat(target_fd).st_dev == os.fstat(parent_fd).st_dev:
            raise ValueError("that is not what was attached")
        mountapi.enter_mount_namespace(own_namespace_fd)
        as_root_of(shift, lambda: os.unlink(name, dir_fd=parent_fd))
        return
    if is_node:
        mountapi.detach(target_fd, own_fds_fd)
    as_root_of(shift, lambda: _remove_place(root_fd, place))


def _place(request: dict[str, object]) -> str:
    place = fields.text(request, "place")
    if not _PLACE.fullmatch(place):
        raise ValueError("that is not a place for a device")
    return place


def _make_place(root_fd: int, place: str) -> None:
    *parents, name = place.split("/")
    for depth in range(2, len(parents) + 1):
        make_directory(root_fd, "/".join(parents[: depth - 1]), parents[depth - 1])
    parent_fd = mountapi.open_beneath(root_fd, "/".join(parents), _PATH | os.O_DIRECTORY)
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=parent_fd))
    except FileExistsError:
        # Perhaps the place of an earlier one: looked at when it is open.
        return


def _is_empty_file(fd: int) -> bool:
    status = os.fstat(fd)
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


def _remove_place(root_fd: int, place: str) -> None:
    parent, _, name = place.rpartition("/")
    parent_fd = mountapi.open_beneath(root_fd, parent, _PATH | os.O_DIRECTORY)
    if _is_empty_file(mountapi.open_beneath(parent_fd, name, _PATH)):
        os.unlink(name, dir_fd=parent_fd)
