"""What isoctl's own standard input, output and error are, and what of them the app gets.

isod lets only pipes, stream sockets and /dev/null into a container; they go in as they are, and the data never
passes through isoctl. Everything else stays outside and is relayed through a pipe.
"""

import _socket
import fcntl
import os
import stat

from isoctl.relay import Relay

_NULL_DEVICE = os.makedev(1, 3)
_TERMINAL_MULTIPLEXER = os.makedev(5, 2)
_NAMES = ("stdin", "stdout", "stderr")
# A container with user namespacing reopens its standard streams as another uid (`>/dev/stderr`).
_PIPE_MODE = 0o666


class Refused(Exception):
    """A stream that can neither be passed nor relayed; the text is one line."""


def open_missing() -> None:
    """Put /dev/null where 0, 1 or 2 is closed, so that nothing opened later ends up there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, which is this one.
            os.open("/dev/null", os.O_RDONLY if number == 0 else os.O_WRONLY)
            os.set_inheritable(number, True)


class Streams:
    """The fds for the app by option name, and the relays to run beside it."""

    __slots__ = ("_made", "relays", "sent")

    def __init__(self, on_terminal: frozenset[int] = frozenset()) -> None:
        """Classify 0, 1 and 2, and make the pipes that are needed; but for those `on_terminal`. Raises Refused."""
        self.sent: dict[str, int] = {}
        self.relays: list[Relay] = []
        self._made: list[int] = []
        if 0 not in on_terminal:
            self._plan_input()
        self._plan_outputs(on_terminal)

    def _plan_input(self) -> None:
        """Pass, relay or replace standard input."""
        if os.isatty(0) and not is_foreground(0, may_be_background=True):
            # Somebody else's terminal (a compositor's console): what is typed there is not for us.
            self.sent["stdin"] = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            self._made.append(self.sent["stdin"])
        elif _goes_in(0):
            self.sent["stdin"] = 0
        else:
            reader, writer = self._pipe()
            self.sent["stdin"] = reader
            self._made.append(reader)
            self.relays.append(Relay(0, writer, inward=True))

    def _plan_outputs(self, on_terminal: frozenset[int]) -> None:
        """Pass or relay standard output and error; through one pipe if both are the same file, to keep the order."""
        for number, name in ((1, "stdout"), (2, "stderr")):
            if number in on_terminal:
                continue
            if _goes_in(number):
                self.sent[name] = number
            elif name == "stderr" and self.sent.get("stdout", 1) != 1 and os.path.sameopenfile(1, 2):
                self.sent[name] = self.sent["stdout"]
            else:
                reader, writer = self._pipe()
                self.sent[name] = writer
                self._made.append(writer)
                self.relays.append(Relay(reader, number, inward=False))

    def _pipe(self) -> tuple[int, int]:
        """Make a pipe: (read end, write end)."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.fchmod(reader, _PIPE_MODE)
        return reader, writer

    def handed_over(self) -> None:
        """Let go of what the app now holds: else no end of file, no SIGPIPE, would reach anybody."""
        for fd in self._made:
            os.close(fd)
        self._made = []
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for number, name in ((0, "stdin"), (1, "stdout")):
            if self.sent.get(name) == number:
                os.dup2(null, number)
        os.close(null)


def _goes_in(number: int) -> bool:
    """Tell whether a stream may enter a container as it is; raises Refused if it can't even be relayed."""
    name = _NAMES[number]
    flags = fcntl.fcntl(number, fcntl.F_GETFL)
    status = os.fstat(number)
    if flags & os.O_PATH:
        message = f"{name} is only a path (O_PATH); nothing can be read from it or written to it"
        raise Refused(message)
    if stat.S_ISDIR(status.st_mode):
        message = f"{name} is a directory; a directory never enters a container"
        raise Refused(message)
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE:
        return True
    access = flags & os.O_ACCMODE
    if access == (os.O_WRONLY if number == 0 else os.O_RDONLY):
        message = f"{name} is not open for {'reading' if number == 0 else 'writing'}"
        raise Refused(message)
    if stat.S_ISFIFO(status.st_mode):
        _open_to_container(number)
        return True
    if stat.S_ISSOCK(status.st_mode):
        return _socket_type(number) == _socket.SOCK_STREAM
    if stat.S_IFMT(status.st_mode) in (stat.S_IFREG, stat.S_IFBLK, stat.S_IFCHR):
        return False
    message = f"{name} is neither a pipe, a socket, a file nor a device"
    raise Refused(message)


def _open_to_container(number: int) -> None:
    """Let the app reopen an anonymous pipe of ours; one that has a name in the file system keeps its mode."""
    try:
        if os.readlink(f"/proc/self/fd/{number}").startswith("pipe:"):
            os.fchmod(number, _PIPE_MODE)
    except OSError:
        pass  # somebody else's pipe: it works as it is, only reopening it by path may not


def _socket_type(number: int) -> int:
    """Give a socket's type, SOCK_STREAM or another."""
    probe = _socket.socket(fileno=os.dup(number))
    try:
        return int(probe.getsockopt(_socket.SOL_SOCKET, _socket.SO_TYPE))
    finally:
        probe.close()


def is_foreground(number: int, *, may_be_background: bool = False) -> bool:
    """Tell whether a stream is isoctl's controlling terminal with isoctl in its foreground process group.

    With `may_be_background` the group doesn't matter. TIOCGPGRP fails on any other terminal (tty_ioctl(4)),
    a pseudo-terminal's master aside, which is nobody's terminal.
    """
    try:
        if not os.isatty(number) or os.fstat(number).st_rdev == _TERMINAL_MULTIPLEXER:
            return False
        return os.tcgetpgrp(number) == os.getpgrp() or may_be_background
    except OSError:
        return False


def is_watched() -> bool:
    """Tell whether somebody looks at a terminal of ours, or there is no desktop that could be told instead."""
    if not (os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")):
        return True
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return is_foreground(fd)
    finally:
        os.close(fd)
