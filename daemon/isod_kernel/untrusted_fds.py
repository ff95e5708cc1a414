"""Descriptors that somebody sent us: looked at and closed without a wait for whatever is behind them.

fstat(2) asks a FUSE file system for a file's status, close(2) tells it that the file was closed (FUSE_FLUSH, also for
a copy among many), and neither ends before the file system answers, not even by SIGKILL. A TCP socket waits for its
peer (SO_LINGER, socket(7)), a terminal for those who read from it. So who sends us one of these could stop us whole.
"""

import contextlib
import ctypes
import os
import queue
import struct
import threading
from collections.abc import Callable
from typing import NamedTuple

_AT_EMPTY_PATH, _AT_STATX_DONT_SYNC = 0x1000, 0x4000  # linux/fcntl.h
_STATX_BASIC_STATS = 0x7FF
_STATX_BYTES = 256
# mode at 28; uid at 20; inode at 32; numbers of the device that it is at 128, of the one that it is on at 136
_FIELDS = struct.Struct("=20xI4xH2xQ88xIIII")
_OPEN = "/proc/self/fd"
# A pipe without a name ends in the kernel alone.
_PIPE = "pipe:["
# Of one process. Its systemd unit may have few tasks, and one that waits for a hostile file system never ends.
_WORKERS_MAX = 8
_IDLE_SEC = 0.5

_libc = ctypes.CDLL(None, use_errno=True)


class Status(NamedTuple):
    """What the kernel knows of an open file by itself."""

    st_mode: int
    st_uid: int
    st_ino: int
    st_rdev: int
    st_dev: int


def status(untrusted_fd: int) -> Status:
    """Give a descriptor's status as it was last known, so that no file system is asked (statx(2)). Raises OSError."""
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    flags = _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC
    if _libc.statx(untrusted_fd, b"", flags, _STATX_BASIC_STATS, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    uid, mode, inode, *numbers = _FIELDS.unpack_from(buffer)
    return Status(mode, uid, inode, os.makedev(*numbers[:2]), os.makedev(*numbers[2:]))


def is_unnamed_pipe(untrusted_fd: int) -> bool:
    """Tell whether it is an end of a pipe(2). No file system is asked: the kernel names what has no path (proc(5))."""
    try:
        return os.readlink(f"{_OPEN}/{untrusted_fd}").startswith(_PIPE)
    except OSError:
        return False


class Closer:
    """Closes descriptors in threads, as many as wait; what waits for ever costs a thread, and nobody else's time."""

    def __init__(self, close: Callable[[int], None] = os.close) -> None:
        """Take what closes one."""
        self._close = close
        self._begin()
        # A child has none of our threads.
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._fds: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._undone = self._workers = 0

    def take(self, fd: int) -> None:
        """Close it soon; owns the descriptor from now on.

        With all threads waiting, and none to be made, it stays open until one is free.
        """
        with self._lock:
            self._undone += 1
            self._fds.put(fd)
            if self._undone <= self._workers or self._workers >= _WORKERS_MAX:
                return
            self._workers += 1
        try:
            # A daemon thread: one that waits must not keep us from ending.
            threading.Thread(target=self._work, name="close", daemon=True).start()
        except RuntimeError:
            with self._lock:
                self._workers -= 1

    @property
    def undone(self) -> int:
        """How many are not closed yet."""
        return self._undone

    def _work(self) -> None:
        while True:
            try:
                fd = self._fds.get(timeout=_IDLE_SEC)
            except queue.Empty:
                with self._lock:
                    # Under the lock: what is taken from now on finds one thread less.
                    if self._fds.empty():
                        self._workers -= 1
                        return
                continue
            with contextlib.suppress(OSError):
                self._close(fd)
            with self._lock:
                self._undone -= 1


_closer = Closer()


def close(untrusted_fd: int) -> None:
    """Close a descriptor without a wait; owns it. One that is closed already does no harm."""
    try:
        name = os.readlink(f"{_OPEN}/{untrusted_fd}")
    except FileNotFoundError:
        return
    except OSError:
        name = ""
    if name.startswith(_PIPE):
        os.close(untrusted_fd)
    else:
        _closer.take(untrusted_fd)
