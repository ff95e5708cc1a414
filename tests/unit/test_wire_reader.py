"""Framing: which bytes and descriptors become which message."""

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest

from closed import until_open_are
from isod_wire import SYSTEM_BUS_CAPS, BadMessage, Message, MessageKind
from isod_wire.encode import encode_body
from isod_wire.header import Route, encode_header
from isod_wire.reader import EndOfStream, FrameReader, Refused, Shed
from isod_wire.shed import LoadShed

CAPS = replace(SYSTEM_BUS_CAPS, max_message_bytes=4_096, max_fds=4)


@pytest.fixture
def ends() -> Iterator[tuple[FrameReader, socket.socket]]:
    """Return a reader and the socket whose bytes it reads."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    reader = FrameReader(ours, CAPS, LoadShed(lambda *_: None))
    with ours, theirs:
        yield reader, theirs
        reader.close()


def message(serial: int, *, text: str = "x", path: str = "/", fds: int = 0) -> bytes:
    body = encode_body("s", [text])
    route = Route(kind=MessageKind.METHOD_CALL, path=path, member="M", interface="a.b")
    return encode_header(route, serial, "s", len(body), fds) + body


def read_all(reader: FrameReader) -> list[Message | Refused | Shed]:
    found: list[Message | Refused | Shed] = []
    while True:
        try:
            received = reader.receive()
        except EndOfStream:
            received = False
        while (frame := reader.next_message()) is not None:
            found.append(frame)
        if not received:
            return found


def inode(fd: int) -> int:
    return os.fstat(fd).st_ino


def bad_header(data: bytes) -> bytes:
    return data.replace(b"a.b\0", b"a..\0", 1)


def unknown_kind(data: bytes) -> bytes:
    return data[:1] + b"\x07" + data[2:]


REFUSED = {
    "over the size cap": message(1, text="x" * 5_000, fds=1),
    "header over any cap": message(1, path="/a" * 20_000, fds=1),
    "bad header": bad_header(message(1, fds=1)),
    "unknown kind": unknown_kind(message(1, fds=1)),
    "declares none": message(1),
    "declares too many": message(1, fds=3),
}


@pytest.mark.attack("C12")
@pytest.mark.parametrize("first", REFUSED.values(), ids=REFUSED.keys())
def test_no_message_gets_the_descriptors_of_another(ends: tuple[FrameReader, socket.socket], first: bytes) -> None:
    """C12: whatever is wrong with one caller's message, its descriptors never arrive with the next caller's."""
    reader, sock = ends
    evil, good = os.open("/dev/null", os.O_RDONLY), os.pipe()
    before = len(os.listdir("/proc/self/fd"))
    socket.send_fds(sock, [first], [evil])
    socket.send_fds(sock, [message(2, fds=1)], [good[0]])
    sock.sendall(message(3))
    refused, second, third = read_all(reader)
    assert isinstance(refused, Refused)
    assert isinstance(second, Message)
    assert isinstance(third, Message)
    fd = second.take_fd(0)
    assert inode(fd) == inode(good[0])
    assert len(third.fds) == 0
    for open_fd in (fd, evil, *good):
        os.close(open_fd)
    until_open_are(before - 3)


def test_oversize_message_is_skipped_and_its_header_kept(ends: tuple[FrameReader, socket.socket]) -> None:
    reader, sock = ends
    data = message(1, text="y" * 100_000) + message(2)
    for start in range(0, len(data), 7_001):
        sock.sendall(data[start : start + 7_001])
    refused, following = read_all(reader)
    assert isinstance(refused, Refused)
    assert refused.header is not None
    assert (refused.header.serial, refused.header.member) == (1, "M")
    assert isinstance(following, Message)
    assert following.body == ["x"]
    assert not reader._buffer


@pytest.mark.parametrize("step", [1, 3, 16, 17, 64])
def test_messages_in_pieces(ends: tuple[FrameReader, socket.socket], step: int) -> None:
    reader, sock = ends
    data = b"".join(message(serial) for serial in range(1, 6))
    found: list[Message | Refused | Shed] = []
    for start in range(0, len(data), step):
        sock.sendall(data[start : start + step])
        found += read_all(reader)
    assert [frame.serial for frame in found if isinstance(frame, Message)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 16,
        b"l\1\0\2" + bytes(12),
        b"l\1\0\1" + struct.pack("<III", 0xFFFF_FFFF, 1, 0),
        b"B\1\0\1" + struct.pack(">III", 0, 1, 64 * 1024 * 1024 + 1),
    ],
)
def test_what_is_not_dbus_can_not_be_mended(ends: tuple[FrameReader, socket.socket], data: bytes) -> None:
    reader, sock = ends
    sock.sendall(data)
    assert reader.receive()
    with pytest.raises(BadMessage):
        reader.next_message()


@pytest.mark.attack("C12")
def test_descriptors_without_messages_are_bounded(ends: tuple[FrameReader, socket.socket]) -> None:
    reader, sock = ends
    before = len(os.listdir("/proc/self/fd"))
    sock.sendall(message(1, text="z" * 3_000)[:100])
    assert reader.receive()
    for _ in range(2):
        socket.send_fds(sock, [b"z"], [0] * 200)
        assert reader.receive()
        assert reader.next_message() is None
    socket.send_fds(sock, [b"z"], [0] * 200)
    with pytest.raises(BadMessage, match="without messages"):
        reader.receive()
    reader.close()
    until_open_are(before)
