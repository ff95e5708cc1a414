"""Ownership of file descriptors that travel with messages."""

import fcntl
from collections.abc import Iterable, Sequence
from typing import Self

from isod_kernel import untrusted_fds
from isod_wire.errors import BadMessage


class FdSet:
    """Descriptors with one owner: whoever holds the set must close it; what was taken out is the taker's.

    A set that is dropped unclosed closes itself, so that no error path leaks.
    """

    __slots__ = ("_fds",)

    def __init__(self, fds: Iterable[int] = ()) -> None:
        """Take over `fds`; a taken one becomes None."""
        self._fds: list[int | None] = list(fds)

    @classmethod
    def duplicate(cls, fds: Sequence[int]) -> Self:
        """Return a set of close-on-exec copies; raises OSError if one of `fds` is closed."""
        # All first: the copy of the first may get the number of a later one that is closed, and stand in for it.
        for fd in fds:
            fcntl.fcntl(fd, fcntl.F_GETFD)
        copies = cls()
        try:
            for fd in fds:
                copies._fds.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3))
        except BaseException:
            copies.close()
            raise
        return copies

    def __len__(self) -> int:
        """Count the descriptors, those taken out included, as indices refer to all."""
        return len(self._fds)

    def take(self, index: int) -> int:
        """Hand one descriptor over to the caller; raises BadMessage for an index that names none."""
        fd = self._at(index)
        self._fds[index] = None
        return fd

    def copy(self, index: int) -> int:
        """Return a close-on-exec copy and keep the original, for an index that a body names twice."""
        return fcntl.fcntl(self._at(index), fcntl.F_DUPFD_CLOEXEC, 3)

    def raw(self) -> list[int]:
        """Return the descriptors that are still owned, to pass to sendmsg."""
        return [fd for fd in self._fds if fd is not None]

    def close(self) -> None:
        """Close whatever was not taken; more than once does no harm."""
        fds, self._fds = self._fds, []
        for fd in fds:
            if fd is not None:
                untrusted_fds.close(fd)

    def __del__(self) -> None:
        """Close at the latest when nobody refers to the set."""
        self.close()

    def _at(self, index: int) -> int:
        # Negative ones too: to a Python list, -1 is a valid index.
        if not 0 <= index < len(self._fds):
            raise BadMessage(f"no file descriptor with index {index}")
        fd = self._fds[index]
        if fd is None:
            raise BadMessage(f"file descriptor {index} was taken already")
        return fd
