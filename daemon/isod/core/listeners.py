"""The sockets that isod listens on for containers; systemd keeps them while isod is restarted."""

import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from isod.core.sessions import GRACE_SEC
from isod.core.state_files import ListenerFiles, ListenerRecord
from isod.ports import Directories, Directory, FdStore
from isod_contract.errors import IsodError


@dataclass(slots=True)
class Listener:
    """One listening socket."""

    fd: int
    identity: tuple[int, int] | None  # of its file; None: an earlier isod made it
    stored: str  # its name in systemd's FD store, and of its record


class Listeners:
    """Makes them, closes them, and takes over those of an earlier isod; each user's own are the reconciler's."""

    def __init__(self, directories: Directories, store: FdStore, files: ListenerFiles) -> None:
        """Take the ports, and where what they are for is written."""
        self._directories = directories
        self._store = store
        self._files = files
        self._stored: dict[tuple[str, int], dict[str, Listener]] = {}

    def recover(self) -> None:
        """Take over the sockets that an earlier isod listened on; clients wait in them meanwhile."""
        for record in self._files.load_all():
            fd = self._store.take(record.stored)
            if fd is None:
                self._files.remove(record.stored)
            else:
                listeners = self._stored.setdefault((record.machine, record.uid), {})
                listeners[record.name] = Listener(fd, None, record.stored)
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
        """Listen on a new socket in a user's directory. Raises UnsafePath, NoSpace, LimitExceeded."""
        fd, identity = self._directories.listen(directory_fd, name, place)
        stored = ""
        try:
            stored = self._store.put(fd)
            # After it is stored: a record without a descriptor would be of no use, and is removed by the next isod.
            self._files.save(ListenerRecord(stored, place.machine, place.uid, name))
        except BaseException:
            self.close(Listener(fd, identity, stored))
            raise
        return Listener(fd, identity, stored)

    def close(self, listener: Listener | None) -> None:
        """Let go of one, if there is one."""
        if listener is None:
            return
        os.close(listener.fd)
        if listener.stored:
            self._store.drop(listener.stored)
            self._files.remove(listener.stored)

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
            for listener in listeners.values():
                self.close(listener)
            self.remove_files(machine, uid, listeners)
        self._stored.clear()
