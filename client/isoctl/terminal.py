"""The terminal mode of `run`: the caller's terminal made raw, and one of the container relayed through it."""

import fcntl
import os
import struct
import termios

from isoctl.interrupts import survive_background
from isoctl.relay import Relay
from isoctl.stdio import is_foreground

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIZE = struct.Struct("HHHH")  # rows, columns, width and height in pixels; 0: unknown (tty_ioctl(4))
_CC = 6  # index of the control characters in what tcgetattr gives


def wanted(*, forced: bool) -> bool:
    """Tell whether the app shall have a terminal.

    Only if all three streams are isoctl's own terminal and isoctl is in the foreground: then its settings are
    isoctl's to change. `forced` (-t) leaves standard error out.
    """
    return all(is_foreground(number) for number in ((0, 1) if forced else (0, 1, 2)))


def _size(fd: int) -> tuple[int, ...]:
    return _SIZE.unpack(fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(_SIZE.size)))


def size_options() -> "dict[str, tuple[str, int]]":
    """Give what is known of the size of the caller's terminal as options of Run; some have none (script, expect)."""
    names = ("rows", "columns", "pixel-width", "pixel-height")
    return {name: ("q", value) for name, value in zip(names, _size(0), strict=True) if value}


class Terminal:
    """The caller's terminal in raw mode, joined to the master side of the app's."""

    __slots__ = ("_master", "_saved", "keyboard", "screen")

    def __init__(self, master: int) -> None:
        """Take over the master, make the caller's terminal raw."""
        self._master = master
        self.keyboard = Relay(0, os.dup(master), inward=True)
        self.screen = Relay(os.dup(master), 1, inward=False)
        self._saved: list[Any] = termios.tcgetattr(0)
        survive_background()
        self.fit()
        self.enter()

    @property
    def relays(self) -> list[Relay]:
        """Both directions."""
        return [self.keyboard, self.screen]

    def fit(self) -> None:
        """Give the app's terminal the size of the caller's, if that is known; the kernel sends it SIGWINCH."""
        try:
            ours, its = _size(0), _size(self._master)
            rows, columns = ours[0] or its[0], ours[1] or its[1]
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, _SIZE.pack(rows, columns, *ours[2:]))
        except OSError:
            pass  # one of the two has hung up, which its relay finds

    def enter(self) -> None:
        """Pass every byte on as it is (cfmakeraw(3)); called again after a stop, when the shell has set its own."""
        if not is_foreground(0):
            return
        raw = [*self._saved[:_CC], list(self._saved[_CC])]
        raw[0] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        raw[1] &= ~termios.OPOST
        raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        raw[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        raw[_CC][termios.VMIN] = 1
        raw[_CC][termios.VTIME] = 0
        termios.tcsetattr(0, termios.TCSANOW, raw)

    def restore(self) -> None:
        """Set the caller's terminal as it was, unless another program has it now."""
        if not is_foreground(0):
            return
        try:
            termios.tcsetattr(0, termios.TCSANOW, self._saved)
        except termios.error:
            pass  # it hung up
