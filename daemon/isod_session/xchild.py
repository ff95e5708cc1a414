"""A process of ours, with less than `subprocess` needs: its import alone would take as long as the X server's start."""

import os
import signal
import time
from collections.abc import Mapping, Sequence

_LOOK_SEC = 0.01


class Child:
    """A program that was started, with /dev/null as its standard input."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], *, keeps: Sequence[int]) -> None:
        """Start the program at the path that is the first word; it has the descriptors `keeps`. Raises OSError."""
        for fd in keeps:
            os.set_inheritable(fd, True)
        no_input = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        self._pid = os.posix_spawn(argv[0], list(argv), environment, file_actions=[no_input])
        self.code: int | None = None  # negative: the number of the signal that ended it

    def poll(self) -> int | None:
        """Give how it ended, None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self, limit_sec: float) -> int | None:
        """Wait for its end, for a while; gives how it ended."""
        deadline_sec = time.monotonic() + limit_sec
        while self.poll() is None and time.monotonic() < deadline_sec:
            time.sleep(_LOOK_SEC)
        return self.code

    def end(self, limit_sec: float) -> None:
        """Ask it to end, and wait for a while."""
        if self.poll() is None:
            try:
                os.kill(self._pid, signal.SIGTERM)
            except PermissionError:
                return  # below systemd 257 nothing in a sandbox may signal: the end of the unit is its end
            self.wait(limit_sec)


def find(program: str, path: str) -> str | None:
    """Give where a program is, in the directories of a PATH."""
    for directory in path.split(":"):
        found = f"{directory}/{program}"
        if directory and os.access(found, os.X_OK):
            return found
    return None
