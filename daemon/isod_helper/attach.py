"""Attach a directory or socket of the host inside a running container as a private mount, or take it away.

A private mount: with any other propagation root in the container could mount over it, and the host would see that.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from isod_contract import names
from isod_helper import fields, locked, mountapi
from isod_helper.prepare import UnsafeDirectory, base_directory, open_own

_SOCKET_ATTRIBUTES = mountapi.NO_SUID | mountapi.NO_DEV | mountapi.NO_EXEC
_DIRECTORY_ATTRIBUTES = mountapi.NO_SUID | mountapi.NO_EXEC | mountapi.READ_ONLY
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def attach_directory(request: dict[str, object], fds: list[int]) -> None:
    """Show a directory of /run/isod/container/MACHINE read-only inside: `run` at /run/isoctl, `dri` at /dev/dri.

    One descriptor: a pidfd of the container. `uid_shift` is the host's uid of the container's root. Raises ValueError,
    OSError.
    """
    machine, directory = fields.name(request, "machine"), fields.name(request, "directory")
    shift = fields.number(request, "uid_shift")
    fields.check_rest(request, fds, count=1)
    target = names.SHOWN_DIRECTORIES.get(directory)
    if target is None:
        raise ValueError("no such directory")
    parent, _, name = target.rpartition("/")

    def source() -> int:
        try:
            with base_directory() as base_fd:
                return open_own(directory, open_own(machine, base_fd))
        except UnsafeDirectory as error:
            raise ValueError(str(error)) from None

    def place(root_fd: int) -> int:
        as_root_of(shift, lambda: make_directory(root_fd, parent, name))
        return mountapi.open_beneath(root_fd, target, _PATH | os.O_DIRECTORY)

    show(Shown(source, _DIRECTORY_ATTRIBUTES, place), fds[0], shift)


def attach_socket(request: dict[str, object], fds: list[int]) -> None:
    """Put a socket of a user's runtime directory at /run/isoctl/UID/NAME inside, in the place of a file there.

    Descriptors: a pidfd of the container, and the socket (O_PATH), which must be what stands under `socket` in
    /run/user/UID, or in /tmp/.X11-unix for an X server. Raises ValueError, OSError.
    """
    uid, name, socket_name = fields.number(request, "uid"), fields.text(request, "name"), fields.text(request, "socket")
    shift = fields.number(request, "uid_shift")
    fields.check_rest(request, fds, count=2)
    is_x11 = name == names.X11_SOCKET
    if not (is_x11 or name == names.WAYLAND_SOCKET) or "/" in socket_name:
        raise ValueError("no such socket")
    if is_x11 and not names.is_x11_name(socket_name):
        raise ValueError("that is not the name of an X server's socket")
    directory = names.X11_DIRECTORY if is_x11 else f"run/user/{uid}"
    wanted = os.fstat(fds[1])

    def source() -> int:
        return _open_socket(f"{directory}/{socket_name}", wanted, uid, is_x11=is_x11)

    def place(root_fd: int) -> int:
        return mountapi.open_beneath(root_fd, f"{names.GUEST_DIRECTORY}/{uid}/{name}", _PATH)

    # Mapped: else the user inside, who has another uid, could not connect.
    show(Shown(source, _SOCKET_ATTRIBUTES, place, is_mapped=True), fds[0], shift)


def _open_socket(path: str, wanted: os.stat_result, uid: int, *, is_x11: bool) -> int:
    # By its path too: a mount can only be cloned where it is mounted, and the caller's namespace is another one.
    source_fd = mountapi.open_beneath(os.open("/", _PATH | os.O_DIRECTORY), path, _PATH)
    found = os.fstat(source_fd)
    if not stat.S_ISSOCK(found.st_mode) or (found.st_dev, found.st_ino) != (wanted.st_dev, wanted.st_ino):
        raise ValueError("that socket is no longer there")
    if found.st_uid != uid and not (is_x11 and found.st_uid == 0):
        raise ValueError("that socket is not the user's own")
    return source_fd


def detach_socket(request: dict[str, object], fds: list[int]) -> None:
    """Unmount what `attach_socket` put there; one descriptor: a pidfd of the container. Raises ValueError, OSError."""
    uid, name = fields.number(request, "uid"), fields.text(request, "name")
    fields.check_rest(request, fds, count=1)
    if name not in {names.WAYLAND_SOCKET, names.X11_SOCKET}:
        raise ValueError("no such socket")
    own_fds_fd = os.open("/proc/self/fd", _PATH & ~os.O_NOFOLLOW | os.O_DIRECTORY)
    root_fd = enter(fds[0])
    mountapi.detach(mountapi.open_beneath(root_fd, f"{names.GUEST_DIRECTORY}/{uid}/{name}", _PATH), own_fds_fd)


def open_root(request: dict[str, object], fds: list[int]) -> int:
    """Give the root of a container's mount namespace as a path only; one descriptor: a pidfd of the container.

    Opened for reading it would be opened by a file system that root inside may have put there. Raises ValueError,
    OSError.
    """
    fields.check_rest(request, fds, count=1)
    return enter(fds[0])


@dataclass(frozen=True)
class Shown:
    """What is mounted in a container: opened on the host (`source`), restricted, put over what `place` opens inside.

    `is_mapped`: its owners have their uids of the container's user namespace.
    """

    source: Callable[[], int]
    attributes: int
    place: Callable[[int], int]
    is_mapped: bool = False


def show(shown: Shown, pidfd: int, shift: int) -> None:
    """Mount it in the container that a process is in; locked, where that has a user namespace.

    Raises OSError, ValueError.
    """
    if not shift:
        tree_fd = mountapi.clone(shown.source())
        mountapi.restrict(tree_fd, shown.attributes)
        mountapi.attach(tree_fd, shown.place(enter(pidfd)))
        return
    # By their files: setns(2) with a pidfd asks for more rights over the process than its own root has.
    pid = _pid_of(pidfd)
    namespaces = tuple(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("user", "mnt"))
    _pid_of(pidfd)  # it lives, so they were not another's
    own = os.stat("/")
    mountapi.own_mount_namespace()
    mountapi.make_all_private()
    # A mount can only be cloned where it is mounted, so it is opened here.
    source_fd = shown.source()
    mapped = mountapi.ID_MAPPED if shown.is_mapped else 0

    def clone() -> int:
        tree_fd = mountapi.clone(source_fd)
        mountapi.restrict(tree_fd, shown.attributes | mapped, namespaces[0] if mapped else 0)
        return tree_fd

    def place() -> int:
        return shown.place(_other_root(own))

    is_directory = stat.S_ISDIR(os.fstat(source_fd).st_mode)
    locked.attach(clone, is_directory=is_directory, namespaces=(namespaces[0], namespaces[1]), place=place)


def enter(pidfd: int) -> int:
    """Go into the container's mount namespace, for good; gives a descriptor of its root."""
    own = os.stat("/")
    mountapi.enter_mount_namespace(pidfd)
    return _other_root(own)


def _other_root(own: os.stat_result) -> int:
    root_fd = os.open("/", _PATH | os.O_DIRECTORY)
    root = os.fstat(root_fd)
    if (root.st_dev, root.st_ino) == (own.st_dev, own.st_ino):
        raise ValueError("that process is not in a container")
    return root_fd


def make_directory(root_fd: int, parent: str, name: str) -> None:
    """Make a directory below the container's root, if it is not there. Raises OSError."""
    parent_fd = mountapi.open_beneath(root_fd, parent, _PATH | os.O_DIRECTORY)
    try:
        os.mkdir(name, 0o755, dir_fd=parent_fd)
    except FileExistsError:
        pass
    finally:
        os.close(parent_fd)


def as_root_of(shift: int, act: Callable[[], None]) -> None:
    """Act as the container's root: in a file system of its user namespace nobody else can make anything.

    One who has joined that namespace is it already.
    """
    if shift and locked.has_joined():
        act()
        return
    os.setresgid(-1, shift, -1)
    os.setresuid(-1, shift, -1)
    try:
        act()
    finally:
        os.setresuid(-1, 0, -1)
        os.setresgid(-1, 0, -1)


def _pid_of(pidfd: int) -> int:
    with open(f"/proc/self/fdinfo/{pidfd}") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key == "Pid" and int(value) > 0:
                return int(value)
    raise ValueError("that process has ended")
