"""Which descriptors may enter a container, and the records that tell a later isod what runs."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from isod.core import stdio
from isod.core.app import AppRecord
from isod.core.state_files import StateFiles
from isod_contract.errors import NoSpace, UnsafeFd
from isod_contract.states import AppState


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def keep(stack: ExitStack, *fds: int) -> tuple[int, ...]:
    for fd in fds:
        stack.callback(os.close, fd)
    return fds


def test_pipes_and_stream_sockets_enter(opened: ExitStack) -> None:
    reader, writer = keep(opened, *os.pipe())
    assert stdio.check(reader, "stdin", reads=True)
    assert stdio.check(writer, "stdout", reads=False)
    for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
        sock = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
        assert stdio.check(sock.fileno(), "stdin", reads=True)
        assert sock.fileno() >= 0


def test_a_fifo_that_is_open_both_ways_enters(opened: ExitStack, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    [both] = keep(opened, os.open(tmp_path / "fifo", os.O_RDWR))
    assert stdio.check(both, "stdin", reads=True)
    assert stdio.check(both, "stdout", reads=False)


def test_dev_null_is_the_containers_own(opened: ExitStack) -> None:
    [null] = keep(opened, os.open("/dev/null", os.O_RDWR))
    assert not stdio.check(null, "stdin", reads=True)


@pytest.mark.attack("C12")
def test_everything_else_is_refused_by_what_it_is(opened: ExitStack, tmp_path: Path) -> None:
    """CVE-2017-5226 and the ways out of a container by a file or directory that was given as a stream."""
    reader, writer = keep(opened, *os.pipe())
    file = tmp_path / "file"
    file.touch()
    master, slave = keep(opened, *os.openpty())
    datagram = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    packets = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    netlink = opened.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
    cases = [
        (os.open(file, os.O_RDONLY), "a regular file"),
        (os.open(tmp_path, os.O_RDONLY), "a directory"),
        (os.open("/", os.O_PATH), "opened with O_PATH"),
        (os.open("/dev/zero", os.O_RDONLY), "a character device"),
        (os.memfd_create("m"), "a regular file"),
        (os.eventfd(0), "an anonymous file"),
        (os.pidfd_open(os.getpid()), "an anonymous file"),
        (os.dup(master), "a character device"),
        (os.dup(slave), "a character device"),
        (os.dup(datagram.fileno()), "a socket that is not a stream"),
        (os.dup(packets.fileno()), "a socket that is not a stream"),
        (os.dup(netlink.fileno()), "a socket that is not a stream"),
        (os.dup(writer), "the wrong end of a pipe"),
    ]
    for fd, what in cases:
        keep(opened, fd)
        with pytest.raises(UnsafeFd, match=what):
            stdio.check(fd, "stdin", reads=True)
    with pytest.raises(UnsafeFd, match="stdout: the wrong end of a pipe"):
        stdio.check(reader, "stdout", reads=False)


@pytest.mark.attack("C12")
def test_a_lifetime_is_the_read_end_of_a_pipe_and_nothing_else(opened: ExitStack, tmp_path: Path) -> None:
    reader, writer = keep(opened, *os.pipe())
    one, other = socket.socketpair()
    opened.enter_context(one)
    opened.enter_context(other)
    os.mkfifo(tmp_path / "fifo")
    [by_path, named] = keep(
        opened,
        os.open(f"/proc/self/fd/{reader}", os.O_PATH),
        os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK),
    )
    for fd in (writer, one.fileno(), by_path, named):
        with pytest.raises(UnsafeFd, match="lifetime"):
            stdio.own_lifetime(fd)


def test_one_pipe_for_two_apps_is_two_that_systemd_keeps(opened: ExitStack) -> None:
    """F1, found on the way: of equal descriptions systemd keeps one, and the other app ended with a restart of isod."""
    reader, writer = os.pipe()
    keep(opened, writer)
    copies = [os.dup(reader) for _ in range(2)]
    os.set_blocking(reader, True)
    owned = keep(opened, *(stdio.own_lifetime(fd) for fd in copies))
    assert not any(_is_same_description(reader, fd) for fd in owned)
    assert not _is_same_description(*owned)
    assert os.get_blocking(reader)
    assert not os.get_blocking(owned[0])
    os.close(reader)
    for fd in owned:
        with pytest.raises(BlockingIOError):
            os.read(fd, 1)


def _is_same_description(one: int, other: int) -> bool:
    """kcmp(2), KCMP_FILE, seen through the flags: those belong to the description."""
    before = fcntl.fcntl(one, fcntl.F_GETFL)
    fcntl.fcntl(one, fcntl.F_SETFL, before ^ os.O_APPEND)
    try:
        return bool((fcntl.fcntl(other, fcntl.F_GETFL) ^ before) & os.O_APPEND)
    finally:
        fcntl.fcntl(one, fcntl.F_SETFL, before)


# -- records of apps


def record(letter: str = "a", **fields: object) -> AppRecord:
    values = {"container": "blog", "host_unit": "container@blog.service", "machine": "blog", "owner_uid": 1000}
    return AppRecord(id=letter * 32, user="alice", argv=("a\nb", ""), **{**values, **fields})  # type: ignore[arg-type]


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    written = record(state=AppState.RUNNING, running=True, problem=("name", "text"), exit_code=7, invocation_id="ff")
    StateFiles(tmp_path).save(written)
    assert StateFiles(tmp_path).load_all() == [written]


def test_a_later_state_replaces_the_earlier_and_a_removed_record_is_gone(tmp_path: Path) -> None:
    files = StateFiles(tmp_path)
    files.save(record("a", started_usec=2))
    files.save(record("b", started_usec=3))
    files.save(record("a", started_usec=2, state=AppState.EXITED))
    files.save(record("f", started_usec=1))
    files.remove("f" * 32)
    assert [item.state for item in files.load_all()] == [AppState.EXITED, AppState.AUTHORIZING]
    files.remove("a" * 32)
    files.remove("a" * 32)
    assert [item.id for item in files.load_all()] == ["b" * 32]


def test_records_come_back_in_the_order_in_which_apps_were_started(tmp_path: Path) -> None:
    """F7: by their random ids the next launches forgot apps whose end nobody had asked about yet."""
    for letter, started_usec in zip("cafeb", range(5), strict=True):
        StateFiles(tmp_path).save(record(letter, started_usec=started_usec))
    assert "".join(item.id[0] for item in StateFiles(tmp_path).load_all()) == "cafeb"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"id": "../../etc/passwd"}', "null", '{"id": 1}', "\x00", "[" * 10_000]
)
def test_a_record_that_is_not_one_is_dropped_and_the_others_stay(tmp_path: Path, text: str) -> None:
    files = StateFiles(tmp_path)
    files.save(record())
    (tmp_path / f"app-{'c' * 32}.json").write_text(text)
    (tmp_path / f"app-{'d' * 32}.json").write_bytes(b"\xff\xfe")
    assert [item.id for item in files.load_all()] == ["a" * 32]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"app-{'a' * 32}.json"]


def test_a_record_under_another_ones_name_is_dropped(tmp_path: Path) -> None:
    files = StateFiles(tmp_path)
    files.save(record())
    (tmp_path / f"app-{'a' * 32}.json").rename(tmp_path / f"app-{'b' * 32}.json")
    assert not files.load_all()


def test_a_full_disk_leaves_the_last_record_whole(tmp_path: Path) -> None:
    files = StateFiles(tmp_path)
    files.save(record())
    (tmp_path / f"app-{'a' * 32}.new").mkdir()
    with pytest.raises(NoSpace):
        files.save(record(state=AppState.EXITED))
    (tmp_path / f"app-{'a' * 32}.new").rmdir()
    assert [item.state for item in files.load_all()] == [AppState.AUTHORIZING]
