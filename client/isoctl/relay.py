"""Copying between a stream that stays outside and the app's pipe or terminal, one chunk whenever poll allows it.

Plain read and write: splice would put page-cache pages of a host file into a pipe that the container can reopen
for writing, and a fault of the kernel there (CVE-2022-0847) would then write to the file.
"""

import errno
import fcntl
import os
import select
import stat
import struct
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK_BYTES = 65536


class Relay:
    """Copies `source` to `target` until the end of one of them.

    `inward`: source is isoctl's own input and target the app's. Otherwise source is the app's output and target
    isoctl's own. The app's side is closed when the relay ends, which tells the app: end of file, or SIGPIPE.
    """

    __slots__ = (
        "_foreground_only",
        "_pending",
        "_reopened",
        "_unread",
        "done",
        "failure",
        "heard",
        "inward",
        "source",
        "source_ended",
        "target",
    )

    def __init__(self, source: int, target: int, *, inward: bool) -> None:
        """Take over the app's side of the two; isoctl's own side stays open."""
        self.source = source
        self.target = target
        self.inward = inward
        self.done = False
        self.source_ended = False
        self.failure = ""
        self.heard: Callable[[bytes], None] | None = None  # is told of what was passed on
        self._pending = b""
        self._reopened = False
        self._unread = -1
        self._foreground_only = inward and os.isatty(source)
        os.set_blocking(target if inward else source, False)
        if not inward and os.isatty(target):
            self._reopen_terminal()

    def _reopen_terminal(self) -> None:
        """Write to the terminal through an open file of our own, so that a stopped one (Ctrl-S) can't hold us up.

        O_NONBLOCK on the inherited one would be set for the shell too.
        """
        flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self.target = os.open(f"/proc/self/fd/{self.target}", flags)
        except OSError:
            return  # after su(1) the terminal belongs to another user: blocking writes, then
        self._reopened = True

    def interests(self) -> list[tuple[int, int]]:
        """Give (fd, poll events) to wait for; nothing while in the background with a terminal to read."""
        if self.done:
            return []
        if self._pending:
            return [(self.target, select.POLLOUT)]
        # Without events poll still tells POLLERR: the app has closed its standard input.
        watched = [(self.target, 0)] if self.inward else []
        if self._foreground_only and not self._is_foreground():
            return watched
        return [(self.source, select.POLLIN), *watched]

    def _is_foreground(self) -> bool:
        """Tell whether reading the terminal would not stop us (SIGTTIN)."""
        try:
            return os.tcgetpgrp(self.source) == os.getpgrp()
        except OSError:
            return True  # hung up: reading tells

    def ready(self, fd: int, events: int) -> None:
        """Act on what poll said of one of the two fds."""
        if self.done:
            return
        if fd == self.target and self.inward and events & (select.POLLERR | select.POLLHUP):
            self.finish()
        elif fd == (self.target if self._pending else self.source):
            self.step()

    def waits_for_foreground(self) -> bool:
        """Tell whether it is time, not poll, that must bring it on: the shell tells nobody who is in front."""
        return self._foreground_only and not self.done and not self._is_foreground()

    def step(self) -> bool:
        """Copy one chunk; false if nothing moved."""
        try:
            if not self._pending:
                self._pending = os.read(self.source, _CHUNK_BYTES)
                if not self._pending:
                    self.source_ended = True
                    self.finish()
                    return False
            written = os.write(self.target, self._pending)
            passed_on, self._pending = self._pending[:written], self._pending[written:]
        except BlockingIOError:
            return False
        except OSError as error:
            # EIO from a terminal is its end; EPIPE is the reader's, and the writer is told by our closing.
            if error.errno not in (errno.EIO, errno.EPIPE):
                self.failure = error.strerror or str(error)
            self.source_ended = not self._pending
            self.finish()
            return False
        if self.heard is not None:
            self.heard(passed_on)
        return True

    def finish(self) -> None:
        """Close the app's side."""
        if self.done:
            return
        self.done = True
        if self.inward and self._is_file():
            try:
                # What is in the pipe now may still be read; `give_back` looks again when the app has ended.
                self._unread = os.open(f"/proc/self/fd/{self.target}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                pass  # without /proc nothing is given back
        os.close(self.target if self.inward else self.source)
        if self._reopened:
            os.close(self.target)

    def _is_file(self) -> bool:
        """Tell whether the source is a regular file, whose position others share."""
        return stat.S_ISREG(os.fstat(self.source).st_mode)

    def give_back(self) -> None:
        """End the relay, and move a file's position back over what the app left unread.

        `while read` loops share the position with us; FIONREAD counts what lies in the pipe (pipe(7)).
        """
        self.finish()
        if self._unread < 0:
            return
        (unread,) = struct.unpack("i", fcntl.ioctl(self._unread, termios.FIONREAD, b"\0\0\0\0"))
        try:
            os.lseek(self.source, -(unread + len(self._pending)), os.SEEK_CUR)
        except OSError:
            pass  # only a courtesy
        os.close(self._unread)
        self._unread = -1


def run_to_end(relays: list[Relay]) -> None:
    """Copy until every relay is done."""
    while any(not relay.done for relay in relays):
        poll = select.poll()
        for relay in relays:
            for fd, events in relay.interests():
                poll.register(fd, events)
        for fd, events in poll.poll():
            for relay in relays:
                relay.ready(fd, events)


def leave_behind(relays: list[Relay]) -> None:
    """Go on copying in a process of its own, for apps whose children live on and still write to our output.

    It holds nothing but the relays' own fds, so nobody waits for it.
    """
    if os.fork():
        return
    status = 1
    try:
        os.setsid()
        for relay in relays:
            relay.target = os.dup(relay.target)
        keep = {fd for relay in relays for fd in (relay.source, relay.target)}
        null = os.open("/dev/null", os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        for name in os.listdir("/proc/self/fd"):
            number = int(name)
            if number > 2 and number not in keep:
                try:
                    os.close(number)
                except OSError:
                    pass  # the directory's own
        run_to_end(relays)
        status = 0
    finally:
        os._exit(status)
