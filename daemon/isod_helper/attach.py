"""Attach a directory or socket of the host inside a running container as a private mount, or take it away.

A private mount: with any other propagation root in the container could mount over it, and the host would see that.
"""

import os
import stat
from collections.abc import Callable

from isod_contract import names
from isod_helper import fields, mountapi
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
    try:
        with base_directory() as base_fd:
            machine_fd = open_own(machine, base_fd)
            source_fd = open_own(directory, machine_fd)
    except UnsafeDirectory as error:
        raise ValueError(str(error)) from None
    # With the tmpfs for launches that is mounted in it.
    tree_fd = mountapi.clone(source_fd, whole=True)
    mountapi.restrict(tree_fd, _DIRECTORY_ATTRIBUTES)
    root_fd = enter(fds[0])
    parent, _, name = target.rpartition("/")
    as_root_of(shift, lambda: make_directory(root_fd, parent, name))
    mountapi.attach(tree_fd, mountapi.open_beneath(root_fd, target, _PATH | os.O_DIRECTORY))


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
    # By its path too: a mount can only be cloned where it is mounted, and the caller's namespace is another one.
    source_fd = mountapi.open_beneath(os.open("/", _PATH | os.O_DIRECTORY), f"{directory}/{socket_name}", _PATH)
    found = os.fstat(source_fd)
    if not stat.S_ISSOCK(found.st_mode) or (found.st_dev, found.st_ino) != (wanted.st_dev, wanted.st_ino):
        raise ValueError("that socket is no longer there")
    if found.st_uid != uid and not (is_x11 and found.st_uid == 0):
        raise ValueError("that socket is not the user's own")
    tree_fd = mountapi.clone(source_fd)
    if shift:
        # Else the user inside, who has another uid, could not connect.
        user_namespace_fd = os.open(f"/proc/{_pid_of(fds[0])}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        mountapi.restrict(tree_fd, _SOCKET_ATTRIBUTES | mountapi.ID_MAPPED, user_namespace_fd)
    else:
        mountapi.restrict(tree_fd, _SOCKET_ATTRIBUTES)
    root_fd = enter(fds[0])
    mountapi.attach(tree_fd, mountapi.open_beneath(root_fd, f"{names.GUEST_DIRECTORY}/{uid}/{name}", _PATH))


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


def enter(pidfd: int) -> int:
    """Go into the container's mount namespace, for good; gives a descriptor of its root."""
    own = os.stat("/")
    mountapi.enter_mount_namespace(pidfd)
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
    """Act as the container's root: in a file system of its user namespace nobody else can make anything."""
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
