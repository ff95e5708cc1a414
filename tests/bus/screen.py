"""A terminal with a test in front of it, and isoctl on it."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from typing import Any

from client import Isoctl


class Screen:
    """A terminal with a test in front of it."""

    def __init__(self, isoctl: Isoctl) -> None:
        self.isoctl = isoctl
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Run isoctl as the session's leader, with this as its controlling terminal."""
        opening = ["setsid", "--wait", "sh", "-c", 'true <"$0"; exec "$@"', os.ttyname(self.slave)]
        leading = opening if "stdin" in options else ["setsid", "--ctty", "--wait"]
        return self._popen([*leading, *self.isoctl.command(*arguments)], **options)

    def script(self, text: str) -> subprocess.Popen[bytes]:
        """Run a script of a shell with job control, as a user's shell is."""
        words = " ".join(f"'{word!s}'" for word in self.isoctl.command())
        return self._popen(
            ["setsid", "--ctty", "--wait", "bash", "-c", f'set -m; isoctl() {{ {words} "$@"; }}; {text}']
        )

    def _popen(self, command: list[Any], **options: Any) -> subprocess.Popen[bytes]:
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), self.slave) | options
        process = subprocess.Popen(command, env=self.isoctl.environment, **streams)
        self._processes.append(process)
        return process

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def read_until(self, text: bytes) -> bytes:
        """Collect what is shown until a text comes."""
        deadline = time.monotonic() + 10
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 4096)
        return self.seen

    def read_all(self) -> bytes:
        """Collect what has been shown; of a program that is over that is all of it."""
        while select.select([self.master], [], [], 0.1)[0]:
            self.seen += os.read(self.master, 4096)
        return self.seen

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait(10)
        for fd in (self.master, self.slave):
            if fd >= 0:
                os.close(fd)
