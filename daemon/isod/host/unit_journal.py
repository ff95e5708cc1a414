"""The last lines that the host's journal has of a unit: what an administrator reads first when a start fails."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from systemd import journal

_LINES = 6
_LINE_CHARS_MAX = 200
_READ_SEC = 3.0
# What a process wrote just before its end, journald stores a moment later, after what PID 1 says of that end.
_SETTLE_SEC = 1.0
_RECHECK_SEC = 0.1


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


_CONVERTERS = {"MESSAGE": _text, "_SYSTEMD_UNIT": _text, "__REALTIME_TIMESTAMP": int}

OpenReader = Callable[[], Any]
"""Gives a new systemd.journal.Reader."""


def open_reader() -> Any:
    """Give a reader of the system journal."""
    return journal.Reader(flags=journal.SYSTEM_ONLY, converters=_CONVERTERS)


class UnitJournal:
    """Adapter of `UnitLog`."""

    def __init__(self, *, open_reader: OpenReader = open_reader) -> None:
        """Take where to read."""
        self._open_reader = open_reader

    async def last_lines(self, unit: str, since_usec: int) -> list[str]:
        """Give the unit's last lines since then, oldest first; none where they can't be had in time."""
        settled_sec = time.monotonic() + _SETTLE_SEC
        try:
            while True:
                await asyncio.sleep(_RECHECK_SEC)
                lines, has_own = await asyncio.wait_for(asyncio.to_thread(self._read, unit, since_usec), _READ_SEC)
                if has_own or time.monotonic() > settled_sec:
                    return lines
        except (OSError, TimeoutError):
            return []

    def _read(self, unit: str, since_usec: int) -> tuple[list[str], bool]:
        """Give lines, and whether one of them is of the unit's own processes."""
        reader = self._open_reader()
        try:
            reader.add_match(_SYSTEMD_UNIT=unit)
            reader.add_disjunction()
            # What PID 1 says about it; anybody can write UNIT=, nobody else can be PID 1.
            reader.add_match(_PID="1")
            reader.add_match(UNIT=unit)
            reader.seek_tail()
            found: list[str] = []
            has_own = False
            until_sec = time.monotonic() + _READ_SEC
            while len(found) < _LINES and time.monotonic() < until_sec:
                entry = reader.get_previous()
                if not entry or entry["__REALTIME_TIMESTAMP"] < since_usec:
                    break
                found.append(_shown(str(entry.get("MESSAGE", ""))))
                has_own |= entry.get("_SYSTEMD_UNIT") == unit
            return found[::-1], has_own
        finally:
            reader.close()


def _shown(untrusted_line: str) -> str:
    """Make a line fit to stand in a sentence: a container's console may be in it."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in untrusted_line)
    return shown if len(shown) <= _LINE_CHARS_MAX else shown[:_LINE_CHARS_MAX] + "..."
