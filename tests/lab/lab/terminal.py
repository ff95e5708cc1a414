"""A command of the lab with a controlling terminal of the lab's own, driven from a test."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lab.enter import LabProcess

# missing in Python's termios module
TIOCGPTPEER = 0x5441
TIOCSPTLCK = 0x40045431


def open_pty(dev: str, uid: int, rows: int, columns: int) -> tuple[int, int]:
    """A pty of the devpts at dev, owned by the user: master and slave."""
    master = os.open(f"{dev}/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    os.fchown(slave, uid, 5)
    os.fchmod(slave, 0o620)
    set_size(master, rows, columns)
    return master, slave


def set_size(master: int, rows: int, columns: int) -> None:
    """Set the window size; the foreground group gets SIGWINCH."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Terminal:
    """The master side of a running command's terminal, and all that it has shown so far."""

    def __init__(self, process: LabProcess, master: int) -> None:
        self.process = process
        self.master = master
        self.output = b""
        self._read_up_to = 0

    def read_until(self, text: str | bytes, timeout_sec: float = 10.0) -> bytes:
        """Read until text appears after what earlier calls returned; returns all up to its end."""
        wanted = text.encode() if isinstance(text, str) else text
        deadline = time.monotonic() + timeout_sec
        while (found := self.output.find(wanted, self._read_up_to)) < 0:
            left_sec = deadline - time.monotonic()
            if left_sec <= 0 or not self._read_some(left_sec):
                raise TimeoutError(f"{wanted!r} not in {self.output[self._read_up_to :]!r}")
        begin, self._read_up_to = self._read_up_to, found + len(wanted)
        return self.output[begin : self._read_up_to]

    def _read_some(self, timeout_sec: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], timeout_sec)
        if not ready:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return False
        self.output += data
        return bool(data)

    def send(self, text: str | bytes) -> None:
        """Type text; control characters act as they do on a keyboard."""
        data = text.encode() if isinstance(text, str) else text
        while data:
            data = data[os.write(self.master, data) :]

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size."""
        set_size(self.master, rows, columns)

    def wait(self, timeout_sec: float = 10.0) -> int:
        """Read the rest of the output and return the exit status (negative: signal)."""
        deadline = time.monotonic() + timeout_sec
        while self._read_some(max(0.0, deadline - time.monotonic())):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def close(self) -> None:
        """Hang up, and make sure that the command is gone."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1
        try:
            self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.process.signal_inner(signal.SIGKILL)
            self.process.wait()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Console:
    """A terminal for a program that is not driven by it; what is written there goes to a file."""

    def __init__(self, root: Path, uid: int, log: Path) -> None:
        self._master, self._slave = open_pty(str(root / "dev/pts"), uid, 24, 80)
        # unread it would stop the program once its buffer is full
        threading.Thread(target=_drain, args=(os.dup(self._master), log), daemon=True).start()

    def slave(self) -> IO[bytes]:
        """The program's end, to be closed here once the program has it."""
        return open(self._slave, "rb+", buffering=0)

    def settings(self) -> list[Any]:
        """The terminal's settings, as stty shows them."""
        return termios.tcgetattr(self._master)

    def close(self) -> None:
        """Forget it; it hangs up when its log is complete."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1


def _drain(master: int, log: Path) -> None:
    # EIO: the last process has left
    with log.open("ab", buffering=0) as file, open(master, "rb", buffering=0) as source, suppress(OSError):
        while data := source.read(65536):
            file.write(data)
