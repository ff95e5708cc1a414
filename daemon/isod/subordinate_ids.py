"""Whose share a uid's is: a user has tens of thousands of uids of their own, and must not get as many shares.

dbus-daemon turns away who has no account; dbus-broker does not.
"""

import os
import time
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

SUBUID = Path("/etc/subuid")
_BYTES_MAX = 1024 * 1024
_LOOK_SEC = 10.0
_UIDS = 2**32


class SubordinateIds:
    """The ranges of subuid(5): any user may run processes of such uids, in a user namespace of theirs."""

    def __init__(self, path: Path = SUBUID, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the file, which is read again when it has changed, and a monotonic clock in seconds."""
        self._path = path
        self._clock = clock
        self._looked_sec = -_LOOK_SEC
        self._version: object = None
        self._starts: list[int] = []
        self._ends: list[int] = []

    def accountable(self, uid: int) -> int:
        """Give a number that all uids of one range have in common; a uid in none has its own."""
        now_sec = self._clock()
        if now_sec - self._looked_sec >= _LOOK_SEC:
            self._looked_sec = now_sec
            self._read()
        index = bisect_right(self._starts, uid) - 1
        return self._starts[index] if index >= 0 and uid < self._ends[index] else uid

    def _read(self) -> None:
        try:
            with self._path.open("rb") as file:
                status = os.stat(file.fileno())
                version = status.st_mtime_ns, status.st_size, status.st_ino
                if version == self._version:
                    return
                data = file.read(_BYTES_MAX)
        except OSError:
            # Without the file nobody has any.
            self._version, self._starts, self._ends = None, [], []
            return
        self._version = version
        if len(data) == _BYTES_MAX:
            # A number that is cut off in the last line would be another one.
            data = data[: data.rfind(b"\n") + 1]
        lines = data.decode(errors="replace").splitlines()
        ranges = sorted(found for line in lines if (found := _range(line)) is not None)
        # What overlaps, by mistake or on purpose, is one.
        merged: list[tuple[int, int]] = []
        for start, end in ranges:
            if merged and start < merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((start, end))
        self._starts, self._ends = [start for start, _ in merged], [end for _, end in merged]


def _range(line: str) -> tuple[int, int] | None:
    """Give first and last + 1 of a line `name:first:count`; None for a comment, and for one that newuidmap ignores."""
    fields = line.split(":")
    if len(fields) != 3 or not all(field.isdecimal() and field.isascii() for field in fields[1:]):
        return None
    start, count = int(fields[1]), int(fields[2])
    return (start, start + count) if start > 0 and count and start + count <= _UIDS else None
