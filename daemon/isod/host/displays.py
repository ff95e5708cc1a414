"""The sockets that a container's users reach through /run/isoctl: made below /run/isod/container, listened on by isod.

What lies there is hostile where the container has no user namespace: its root can write to it. So everything is done by
descriptor, and nothing is read or connected to.
"""

import contextlib
import fcntl
import itertools
import os
import resource
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from isod.host import rootfs
from isod.ports import Directory
from isod_contract.errors import NoSpace, UnsafePath
from isod_contract.names import CONTAINER_DIRECTORY, GUEST_DIRECTORY, SHOWN_DIRECTORIES

_BACKLOG = 128
_numbers = itertools.count()
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class ContainerDirectories:
    """Adapter of `Directories`."""

    def __init__(self, base: Path = Path(CONTAINER_DIRECTORY)) -> None:
        """Take the directory of all containers, which is root's own."""
        self._base = base

    def open_shown(self, machine: str, directory: str) -> int | None:
        """Open what a container sees as /run/isoctl (`run`) or /dev/dri (`dri`); None while it has not been made.

        Raises UnsafePath.
        """
        try:
            base_fd = os.open(self._base, _DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            machine_fd = rootfs.open_directory(base_fd, machine, machine)
            if machine_fd is None:
                return None
            try:
                # A tmpfs of its own, else there is nothing that bounds what lies there.
                if os.fstat(machine_fd).st_dev == os.fstat(base_fd).st_dev:
                    return None
                return rootfs.open_directory(machine_fd, directory, machine)
            finally:
                os.close(machine_fd)
        finally:
            os.close(base_fd)

    def is_seen(self, directory_fd: int, root_fd: int, machine: str, directory: str) -> bool:
        """Tell whether the container shows this directory at its place. Raises UnsafePath."""
        fd = rootfs.open_directory(root_fd, SHOWN_DIRECTORIES[directory], machine)
        if fd is None:
            return False
        try:
            return _identity(os.fstat(fd)) == _identity(os.fstat(directory_fd))
        finally:
            os.close(fd)

    def is_free(self, root_fd: int, directory: str) -> bool:
        """Tell whether a container's directory can be shown: nothing is at its place inside that it would hide."""
        path = SHOWN_DIRECTORIES[directory]
        try:
            with rootfs.opened(root_fd, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW) as fd:
                parent = os.stat("..", dir_fd=fd)
                return os.fstat(fd).st_dev == parent.st_dev and not os.listdir(fd)
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def ensure_directory(self, run_fd: int, directory: Directory) -> int:
        """Make a user's directory, 0700 and their own, and open it. Raises UnsafePath, NoSpace."""
        name = str(directory.uid)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=run_fd)
            fd = rootfs.openat2(run_fd, name, _DIRECTORY)
        except OSError as error:
            raise _failure(directory, name, error) from None
        try:
            status = os.fstat(fd)
            if (status.st_uid, status.st_gid) != directory.owner:
                # Another owner: the container has another range of uids since it was started again.
                os.fchown(fd, *directory.owner)
            if stat.S_IMODE(status.st_mode) != 0o700:
                os.fchmod(fd, 0o700)
        except OSError as error:
            os.close(fd)
            raise _failure(directory, name, error) from None
        return fd

    def listen(self, directory_fd: int, name: str, directory: Directory) -> tuple[int, tuple[int, int]]:
        """Listen on a new socket in a user's directory; gives descriptor and identity of its file.

        Raises UnsafePath, NoSpace.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self.remove(directory_fd, name)
            with _numbered(directory_fd) as number:
                # By way of /proc, since bind(2) takes no descriptor; it follows no symlink in the last component.
                sock.bind(f"/proc/{os.getpid()}/fd/{number}/{name}")
            os.chown(name, *directory.owner, dir_fd=directory_fd, follow_symlinks=False)
            status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
            if not stat.S_ISSOCK(status.st_mode):
                raise UnsafePath(path=name, container=directory.machine, reason="somebody else writes there")
            sock.listen(_BACKLOG)
        except OSError as error:
            sock.close()
            raise _failure(directory, name, error) from None
        except BaseException:
            sock.close()
            raise
        return sock.detach(), _identity(status)

    def identity(self, directory_fd: int, name: str, directory: Directory) -> tuple[int, int] | None:
        """Tell which file stands under a name, if it is a socket of the directory's owner."""
        try:
            status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        except OSError:
            return None
        right = stat.S_ISSOCK(status.st_mode) and (status.st_uid, status.st_gid) == directory.owner
        return _identity(status) if right else None

    def ensure_place(self, directory_fd: int, name: str, directory: Directory) -> None:
        """Have an empty file under a name, for a mount over it. Raises NoSpace, UnsafePath."""
        try:
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG(os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_mode):
                    return
            self.remove(directory_fd, name)
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=directory_fd))
        except OSError as error:
            raise _failure(directory, name, error) from None

    def write(self, directory_fd: int, name: str, content: bytes, directory: Directory) -> None:
        """Have a file of the directory's owner, that they alone may read; no content: none. Raises NoSpace, UnsafePath.

        In one step: an app may be about to read what stands there, which may be anything.
        """
        if not content:
            self.remove(directory_fd, name)
            return
        fresh = f"{name}.new"
        self.remove(directory_fd, fresh)
        try:
            fd = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o400, dir_fd=directory_fd)
            try:
                os.write(fd, content)
                os.fchown(fd, *directory.owner)
            finally:
                os.close(fd)
            os.rename(fresh, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        except OSError as error:
            raise _failure(directory, name, error) from None

    def identity_inside(self, root_fd: int, uid: int, name: str) -> tuple[int, int] | None:
        """Tell which file the container sees under a user's name; None where there is none."""
        try:
            with rootfs.opened(root_fd, f"{GUEST_DIRECTORY}/{uid}/{name}", os.O_PATH | os.O_NOFOLLOW) as fd:
                return _identity(os.fstat(fd))
        except OSError:
            return None

    def remove(self, directory_fd: int, name: str) -> None:
        """Remove what stands under a name; what can't be removed is left, and then nothing can be made there.

        That is a directory, or a file that the container's root made immutable.
        """
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=directory_fd)

    def remove_directory(self, run_fd: int, uid: int) -> None:
        """Remove a user's empty directory."""
        with contextlib.suppress(OSError):
            os.rmdir(str(uid), dir_fd=run_fd)


@contextlib.contextmanager
def _numbered(fd: int) -> Iterator[int]:
    """Give a descriptor a number that no other socket is bound by for as long as this process lives.

    By what it is bound to a connection is known (isod.host.display_use). Where there are no numbers left, the
    descriptor's own has to do.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        number = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, limit // 2 + next(_numbers) % (limit // 2 - 1))
    except OSError:
        yield fd
        return
    try:
        yield number
    finally:
        os.close(number)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _failure(directory: Directory, name: str, error: OSError) -> NoSpace | UnsafePath:
    return rootfs.unsafe(directory.machine, f"{GUEST_DIRECTORY}/{directory.uid}/{name}", error)
