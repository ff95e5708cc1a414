"""systemd's FD store of isod's own unit (sd_pid_notify_with_fds(3), FileDescriptorStoreMax=)."""

import os

from systemd import daemon


class SystemdFdStore:
    """Adapter of `FdStore`; does nothing lasting where isod does not run under systemd."""

    def __init__(self) -> None:
        """Take over what an earlier isod stored (sd_listen_fds_with_names(3))."""
        self._found: dict[str, int] = {}
        for fd, name in daemon.listen_fds_with_names(unset_environment=True).items():
            os.set_inheritable(fd, False)
            self._found[name] = fd

    def put(self, name: str, fd: int) -> None:
        """Store a duplicate; FDPOLL=0, since else systemd drops a pipe whose writer has gone, which we must learn."""
        daemon.notify(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", fds=[fd])

    def take(self, name: str) -> int | None:
        """Give back a stored fd, once."""
        return self._found.pop(name, None)

    def names(self, prefix: str) -> list[str]:
        """Give the names of what nobody took yet."""
        return [name for name in self._found if name.startswith(prefix)]

    def drop(self, name: str) -> None:
        """Remove it from systemd's store."""
        daemon.notify(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def drop_rest(self) -> None:
        """Close and forget what nobody took: its record is gone."""
        for name, fd in self._found.items():
            os.close(fd)
            self.drop(name)
        self._found.clear()
