"""Files that a container's systemd reads as it starts a unit: below /run/isod/container, removed right afterwards."""

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from isod.host import rootfs
from isod_contract.names import CONTAINER_DIRECTORY, GUEST_DIRECTORY, LAUNCH_DIRECTORY, SHOWN_RUN

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FRESH = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class SecretFiles:
    """Adapter of `LaunchFiles`: each is 0600 and the container's root's own, as the host numbers that."""

    def __init__(self, base: Path = Path(CONTAINER_DIRECTORY)) -> None:
        """Take the directory of all containers, which is root's own."""
        self._base = base
        self._held: set[str] = set()

    @contextlib.contextmanager
    def hold(self, run_fd: int, machine: str, name: str, data: bytes, root_uid: int) -> Iterator[None]:
        """Have a file in a container's directory (`run_fd`, owned by this) for a while. Raises NoSpace, UnsafePath."""
        try:
            directory_fd = _open_directory(run_fd, machine, root_uid)
        finally:
            os.close(run_fd)
        self._held.add(name)
        try:
            _write(directory_fd, machine, name, data, root_uid)
            yield
        finally:
            self._held.discard(name)
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory_fd)
            os.close(directory_fd)

    def sweep(self, keep: Collection[str]) -> None:
        """Remove what an earlier isod left, but for these names; whose directory can't be read keeps it."""
        with contextlib.suppress(OSError):
            for machine in os.listdir(self._base):
                self._sweep_one(machine, keep)

    def _sweep_one(self, machine: str, keep: Collection[str]) -> None:
        with (
            contextlib.suppress(OSError),
            _opened(self._base) as base_fd,
            rootfs.opened(base_fd, f"{machine}/{SHOWN_RUN}/{LAUNCH_DIRECTORY}", _DIRECTORY) as directory_fd,
        ):
            for name in os.listdir(directory_fd):
                if name not in keep and name not in self._held:
                    with contextlib.suppress(OSError):
                        os.unlink(name, dir_fd=directory_fd)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, _DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _open_directory(run_fd: int, machine: str, root_uid: int) -> int:
    """Open it, 0700 and the container's root's own."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(LAUNCH_DIRECTORY, 0o700, dir_fd=run_fd)
        fd = rootfs.openat2(run_fd, LAUNCH_DIRECTORY, _DIRECTORY)
    except OSError as error:
        raise rootfs.unsafe(machine, f"{GUEST_DIRECTORY}/{LAUNCH_DIRECTORY}", error) from None
    try:
        status = os.fstat(fd)
        if (status.st_uid, status.st_gid) != (root_uid, root_uid):
            # Another owner: the container has another range of uids since it was started again.
            os.fchown(fd, root_uid, root_uid)
        if stat.S_IMODE(status.st_mode) != 0o700:
            os.fchmod(fd, 0o700)
    except OSError as error:
        os.close(fd)
        raise rootfs.unsafe(machine, f"{GUEST_DIRECTORY}/{LAUNCH_DIRECTORY}", error) from None
    return fd


def _write(directory_fd: int, machine: str, name: str, data: bytes, root_uid: int) -> None:
    try:
        fd = os.open(name, _FRESH, 0o600, dir_fd=directory_fd)
        with open(fd, "wb", buffering=0) as file:
            os.fchown(fd, root_uid, root_uid)
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
    except OSError as error:
        raise rootfs.unsafe(machine, f"{GUEST_DIRECTORY}/{LAUNCH_DIRECTORY}/{name}", error) from None
