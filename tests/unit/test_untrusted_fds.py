"""Descriptors of strangers: their status and their end without a wait for what is behind them."""

import contextlib
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from closed import SOON_SEC, until_closed
from isod_kernel import untrusted_fds
from isod_kernel.untrusted_fds import Closer


def kinds(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_text("x")
    os.mkfifo(tmp_path / "fifo")
    yield os.open(path, os.O_RDONLY)
    yield os.open(path, os.O_PATH)
    yield os.open(tmp_path, os.O_RDONLY)
    yield os.open(tmp_path / "fifo", os.O_RDWR)
    yield os.open("/dev/null", os.O_RDWR)
    yield from os.pipe()
    yield socket.socket().detach()
    yield os.memfd_create("x")
    yield from os.openpty()


def test_a_status_is_what_fstat_says(tmp_path: Path) -> None:
    for fd in kinds(tmp_path):
        mine, right = untrusted_fds.status(fd), os.fstat(fd)
        assert mine == (right.st_mode, right.st_uid, right.st_ino, right.st_rdev, right.st_dev)
        os.close(fd)


def test_what_is_not_open_has_none_and_is_closed_without_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        untrusted_fds.status(-1)
    fd = os.dup(0)
    os.close(fd)
    for number in (-1, fd):
        untrusted_fds.close(number)


def test_only_a_pipe_without_a_name_is_one(tmp_path: Path) -> None:
    """A file may be called so: the kernel's own names alone begin without a slash."""
    (tmp_path / "pipe:[1]").write_text("")
    found = [*kinds(tmp_path), os.open(tmp_path / "pipe:[1]", os.O_RDONLY)]
    for fd in found:
        assert untrusted_fds.is_unnamed_pipe(fd) == (stat.S_ISFIFO(os.fstat(fd).st_mode) and fd not in found[3:4])
        os.close(fd)


def test_each_kind_is_closed(tmp_path: Path) -> None:
    for fd in list(kinds(tmp_path)):
        untrusted_fds.close(fd)
        until_closed(fd)


@pytest.mark.attack("C57")
def test_a_socket_that_waits_for_its_peer_is_not_waited_for() -> None:
    """SO_LINGER: close(2) of the last copy waits until the peer has read what was sent, or for that long."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
        sender.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.send(bytes(65536))
        peer, _ = listener.accept()
        began_sec = time.monotonic()
        untrusted_fds.close(sender.detach())
        assert time.monotonic() - began_sec < 1
        peer.close()


@pytest.mark.attack("C57")
def test_what_never_closes_costs_threads_up_to_a_number_and_nobody_elses_close() -> None:
    never, closed = threading.Event(), []

    def close(fd: int) -> None:
        if fd < 0:
            never.wait()
        closed.append(fd)

    closer = Closer(close)
    before = threading.active_count()
    for number in range(7):
        closer.take(-1 - number)
    closer.take(1)
    deadline = time.monotonic() + SOON_SEC
    while closed != [1]:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert closer.undone == 7
    for _ in range(50):
        closer.take(-9)
    assert threading.active_count() - before == 8
    never.set()
    while closer.undone:
        assert time.monotonic() < deadline + SOON_SEC
        time.sleep(0.005)
    assert len(closed) == 58
    # Threads that have nothing to do end.
    while threading.active_count() > before:
        assert time.monotonic() < deadline + 2 * SOON_SEC
        time.sleep(0.005)
    closer.take(2)
    while closed[-1] != 2:
        assert time.monotonic() < deadline + 2 * SOON_SEC
        time.sleep(0.005)


def test_a_thread_that_can_not_be_made_is_tried_again_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    closer = Closer(closed.append)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        closer.take(1)
    assert closed == []
    closer.take(2)
    deadline = time.monotonic() + SOON_SEC
    while sorted(closed) != [1, 2]:
        assert time.monotonic() < deadline
        time.sleep(0.005)
