"""The terminal mode of `run`: the caller's terminal made raw, and one of the container relayed through it."""

import fcntl
import os
import struct
import termios

from isoctl.interrupts import TERMINAL_STOP, survive_background
from isoctl.relay import Relay
from isoctl.stdio import is_foreground

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIZE = struct.Struct("HHHH")  # rows, columns, width and height in pixels; 0: unknown (tty_ioctl(4))
_TIOCGPTPEER, _TIOCGSID = 0x5441, 0x5429  # ioctl_tty(2)
_STOP_KEY = b"\x1a"
_CC = 6  # index of the control characters in what tcgetattr gives


def own_streams() -> frozenset[int]:
    """Give those of 0, 1 and 2 that are isoctl's own terminal, with isoctl in its foreground.

    Its settings are isoctl's to change then.
    """
    return frozenset(number for number in range(3) if is_foreground(number))


def open_own() -> int | None:
    """Give a descriptor of isoctl's own terminal, whatever its streams are; None if it has none, or not in front."""
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    if is_foreground(fd):
        return fd
    os.close(fd)
    return None


class Joint:
    """What of isoctl's own is to be joined to the app's terminal: a descriptor (None: 0 and 1), and which streams."""

    __slots__ = ("fd", "streams")

    def __init__(self, fd: int | None, streams: frozenset[int]) -> None:
        """Keep both."""
        self.fd = fd
        self.streams = streams

    @property
    def is_shared(self) -> bool:
        """Whether streams of the app go elsewhere, perhaps to programs that write to the same terminal."""
        return self.fd is not None


def _size(fd: int) -> tuple[int, ...]:
    return _SIZE.unpack(fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(_SIZE.size)))


def size_options(fd: int) -> "dict[str, tuple[str, int]]":
    """Give what is known of the size of the caller's terminal as options of Run; some have none (script, expect)."""
    names = ("rows", "columns", "pixel-width", "pixel-height")
    return {name: ("q", value) for name, value in zip(names, _size(fd), strict=True) if value}


class Terminal:
    """The caller's terminal in raw mode, joined to the master side of the app's."""

    __slots__ = ("_fd", "_is_shared", "_master", "_saved", "_slave", "keyboard", "screen", "stop_typed")

    def __init__(self, master: int, joint: Joint) -> None:
        """Take over the master, make the caller's terminal raw."""
        self._master = master
        self._fd = joint.fd or 0
        self._is_shared = joint.is_shared
        # The terminal must not end before an app that has no stream on it opens /dev/tty.
        self._slave = (
            fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC) if self._is_shared else -1
        )
        self.keyboard = Relay(self._fd, os.dup(master), inward=True)
        self.keyboard.heard = self._heard
        self.stop_typed = False  # Ctrl-Z was, since somebody looked
        self.screen = Relay(os.dup(master), 1 if joint.fd is None else joint.fd, inward=False)
        self._saved: list[Any] = termios.tcgetattr(self._fd)
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
            ours, its = _size(self._fd), _size(self._master)
            rows, columns = ours[0] or its[0], ours[1] or its[1]
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, _SIZE.pack(rows, columns, *ours[2:]))
        except OSError:
            pass  # one of the two has hung up, which its relay finds

    def _heard(self, typed: bytes) -> None:
        self.stop_typed = self.stop_typed or _STOP_KEY in typed

    def stops_nothing(self) -> bool:
        """Tell whether Ctrl-Z means what it means to most programs, to be stopped, and yet can't stop this one.

        The leader of a session has no shell above it in its terminal that could continue it, so the kernel does not
        stop it (credentials(7), setpgid(2)). One that catches or ignores the signal knows better, as shells do.
        """
        try:
            settings = termios.tcgetattr(self._master)
            (leader,) = struct.unpack("i", fcntl.ioctl(self._master, _TIOCGSID, bytes(4)))
            if not settings[3] & termios.ISIG or settings[_CC][termios.VSUSP] != _STOP_KEY:
                return False
            return leader > 0 and os.tcgetpgrp(self._master) == leader and _stops_by_default(leader)
        except (OSError, termios.error):
            return False  # it has hung up, or is not to be seen from here

    def let_go(self) -> None:
        """Let the app's terminal come to its end: the app is over."""
        if self._slave >= 0:
            os.close(self._slave)
            self._slave = -1

    def match_output(self) -> None:
        """Have the caller's terminal treat line ends as the app's does, for others that write to it.

        Of an app that has its terminal in raw mode each byte counts; else a carriage return more does no harm.
        """
        if not self._is_shared or not is_foreground(self._fd):
            return
        try:
            its, ours = termios.tcgetattr(self._master)[1], termios.tcgetattr(self._fd)
            wanted = ours[1] & ~termios.OPOST | its & termios.OPOST
            if wanted != ours[1]:
                ours[1] = wanted
                termios.tcsetattr(self._fd, termios.TCSANOW, ours)
        except (OSError, termios.error):
            pass  # one of the two has hung up, which its relay finds

    def enter(self) -> None:
        """Pass every byte on as it is (cfmakeraw(3)); called again after a stop, when the shell has set its own."""
        if not is_foreground(self._fd):
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
        termios.tcsetattr(self._fd, termios.TCSANOW, raw)
        self.match_output()

    def restore(self) -> None:
        """Set the caller's terminal as it was, unless another program has it now."""
        if not is_foreground(self._fd):
            return
        try:
            termios.tcsetattr(self._fd, termios.TCSANOW, self._saved)
        except termios.error:
            pass  # it hung up


def _stops_by_default(pid: int) -> bool:
    """Tell whether SIGTSTP has its default action in a process (proc_pid_status(5)). Raises OSError."""
    bit = 1 << TERMINAL_STOP - 1
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        masks = [int(line.split()[1], 16) for line in status if line.startswith(("SigIgn:", "SigCgt:", "SigBlk:"))]
    return bool(masks) and not any(mask & bit for mask in masks)
