"""systemd's FD store of isod's own unit (sd_pid_notify_with_fds(3), FileDescriptorStoreMax=)."""

import os
import secrets

from systemd import daemon

from isod_contract.errors import LimitExceeded
from isod_contract.limits import STORED_FDS_MAX

# systemd hands all names over in one variable, LISTEN_FDNAMES, and the kernel takes no string of an argument vector or
# environment beyond 128 KiB (execve(2), MAX_ARG_STRLEN): with long names an isod that holds thousands of descriptors
# could never be executed again. What each one is for stands in a record of its own.
_NAME_BYTES = 3  # four characters of base64


class SystemdFdStore:
    """Adapter of `FdStore`; does nothing lasting where isod does not run under systemd."""

    def __init__(self) -> None:
        """Take over what an earlier isod stored (sd_listen_fds_with_names(3))."""
        self._found: dict[str, int] = {}
        for fd, name in daemon.listen_fds_with_names(unset_environment=True).items():
            os.set_inheritable(fd, False)
            self._found[name] = fd
        self._names = set(self._found)

    def put(self, fd: int) -> str:
        """Store a duplicate; gives its name, four characters, which must be recorded. Raises LimitExceeded.

        FDPOLL=0, since else systemd drops a pipe whose writer has gone, which we must learn.
        """
        if len(self._names) >= STORED_FDS_MAX:
            raise LimitExceeded(reason=f"isod keeps {STORED_FDS_MAX} descriptors of all users; end an app")
        name = self._fresh_name()
        try:
            daemon.notify(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", fds=[fd])
        except OSError as error:
            raise LimitExceeded(reason=f"systemd takes no more descriptors ({error.strerror})") from None
        self._names.add(name)
        return name

    def _fresh_name(self) -> str:
        while True:
            # By chance and not in turn: a record that outlives its descriptor must not come to name another one.
            name = secrets.token_urlsafe(_NAME_BYTES)
            if name not in self._names:
                return name

    def take(self, name: str) -> int | None:
        """Give back a stored fd, once."""
        return self._found.pop(name, None)

    def drop(self, name: str) -> None:
        """Remove it from systemd's store."""
        self._names.discard(name)
        daemon.notify(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def drop_rest(self) -> None:
        """Close and forget what nobody took: its record is gone."""
        for name, fd in self._found.items():
            os.close(fd)
            self.drop(name)
        self._found.clear()
