"""The sockets that isod listens on for containers; systemd keeps them while isod is restarted."""

import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from isod.core.sessions import GRACE_SEC
from isod.ports import Directories, Directory, FdStore
from isod_contract.errors import IsodError
from isod_contract.names import WAYLAND_SOCKET, X11_SOCKET

_STORED = "display"


@dataclass(slots=True)
class Listener:
    """One listening socket."""

    fd: int
    identity: tuple[int, int] | None  # of its file; None: an earlier isod made it


class Listeners:
    """Makes them, closes them, and takes over those of an earlier isod; each user's own are the reconciler's."""

    def __init__(self, directories: Directories, store: FdStore) -> None:
        """Take the ports."""
        self._directories = directories
        self._store = store
        self._stored: dict[tuple[str, int], dict[str, Listener]] = {}

    def recover(self) -> None:
        """Take over the sockets that an earlier isod listened on; clients wait in them meanwhile."""
        for stored in self._store.names(f"{_STORED}-"):
            machine, uid, name = stored.removeprefix(f"{_STORED}-").rsplit("-", 2)
            fd = self._store.take(stored)
            if fd is not None:
                self._stored.setdefault((machine, int(uid)), {})[_file_name(name)] = Listener(fd, None)
        if self._stored:
            asyncio.get_running_loop().call_later(2 * GRACE_SEC, self._drop_stored)

    @property
    def waiting(self) -> int:
        """Count those that nobody came back to yet."""
        return sum(len(listeners) for listeners in self._stored.values())

    def take_over(self, machine: str, uid: int) -> dict[str, Listener]:
        """Give what an earlier isod listened on for a user, once."""
        return self._stored.pop((machine, uid), {})

    def make(self, directory_fd: int, name: str, place: Directory) -> Listener:
        """Listen on a new socket in a user's directory. Raises UnsafePath, NoSpace."""
        fd, identity = self._directories.listen(directory_fd, name, place)
        self._store.put(_stored_name(place.machine, place.uid, name), fd)
        return Listener(fd, identity)

    def close(self, machine: str, uid: int, name: str, listener: Listener | None) -> None:
        """Let go of one, if there is one."""
        if listener is not None:
            os.close(listener.fd)
            self._store.drop(_stored_name(machine, uid, name))

    def remove_files(self, machine: str, uid: int, names: Iterable[str]) -> None:
        """Remove closed ones from where the container's next start would show them: a compositor may still listen."""
        with suppress(IsodError):
            run_fd = self._directories.open_shown(machine, "run")
            if run_fd is None:
                return
            try:
                # Root's until somebody starts something there: for nobody inside.
                directory_fd = self._directories.ensure_directory(run_fd, Directory(machine, uid, (0, 0)))
                try:
                    for name in names:
                        self._directories.remove(directory_fd, name)
                finally:
                    os.close(directory_fd)
                self._directories.remove_directory(run_fd, uid)
            finally:
                os.close(run_fd)

    def _drop_stored(self) -> None:
        """Let go of sockets that nobody came back to: their user has no session, or their container does not run."""
        for (machine, uid), listeners in self._stored.items():
            for name, listener in listeners.items():
                self.close(machine, uid, name, listener)
            self.remove_files(machine, uid, listeners)
        self._stored.clear()


def _stored_name(machine: str, uid: int, name: str) -> str:
    return f"{_STORED}-{machine}-{uid}-{'x11' if name == X11_SOCKET else 'wayland'}"


def _file_name(stored: str) -> str:
    return X11_SOCKET if stored == "x11" else WAYLAND_SOCKET
