"""Calls of a sender that floods are refused unread, and nobody else's."""

import os
import socket
import time
from collections.abc import Iterator

import pytest

from closed import until_open_are
from isod_wire import SYSTEM_BUS_CAPS, Message, MessageKind, ShedGroup
from isod_wire.header import NO_REPLY_EXPECTED, Route, encode_header
from isod_wire.reader import FrameReader
from isod_wire.shed import LoadShed

MALLORY, ALICE = ":1.20", ":1.3"


class Bench:
    """A reader of what the test sends, and what it refused."""

    def __init__(self) -> None:
        self.refusals: list[tuple[str, int, str, str]] = []
        self.shed = LoadShed(lambda *refusal: self.refusals.append(refusal))
        ours, self.theirs = socket.socketpair()
        self.ours = ours
        self.reader = FrameReader(ours, SYSTEM_BUS_CAPS, self.shed)
        self.group = ShedGroup()
        self.group.error_name, self.group.text = "a.b.Error", "too many"
        self.counted = 0
        self.group.on_refused = self.count

    def count(self) -> None:
        self.counted += 1

    def read(self, *messages: bytes) -> list[int]:
        """Give the serials of the messages that are read."""
        self.theirs.sendall(b"".join(messages))
        found = []
        while self.reader.receive():
            while (frame := self.reader.next_message()) is not None:
                if isinstance(frame, Message):
                    found.append(frame.serial)
                    frame.close()
        return found


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    with made.ours, made.theirs:
        yield made
        made.reader.close()


def call(serial: int, sender: str, *, flags: int = 0, path: str = "/") -> bytes:
    """Give a call as the broker passes it on: with the sender as the last field."""
    route = Route(kind=MessageKind.METHOD_CALL, path=path, member="M", interface="a.b", flags=flags)
    data = bytearray(encode_header(route, serial, "", 0, 0))
    field = b"\x07\x01s\x00" + len(sender).to_bytes(4, "little") + sender.encode() + b"\0"
    data[12:16] = (len(data) - 16 + len(field)).to_bytes(4, "little")
    data += field
    return bytes(data + bytes(-len(data) % 8))


@pytest.mark.attack("C15")
def test_a_flooding_sender_is_refused_unread_and_nobody_else(bench: Bench) -> None:
    bench.shed.add(MALLORY, bench.group)
    bench.group.until_sec = time.monotonic() + 60
    assert bench.read(call(1, MALLORY), call(2, ALICE), call(3, MALLORY), call(4, ":1.2")) == [2, 4]
    assert bench.refusals == [(MALLORY, serial, "a.b.Error", "too many") for serial in (1, 3)]
    assert bench.counted == 2


def test_the_sender_is_read_again_once_the_time_is_over_or_it_was_forgotten(bench: Bench) -> None:
    bench.shed.add(MALLORY, bench.group)
    assert bench.read(call(1, MALLORY)) == [1]
    bench.group.until_sec = time.monotonic() + 60
    assert bench.shed.remove(MALLORY) is bench.group
    assert bench.read(call(2, MALLORY)) == [2]
    assert bench.group.senders == 0
    assert bench.shed.remove(MALLORY) is None


def test_a_sender_that_expects_no_reply_gets_none(bench: Bench) -> None:
    bench.shed.add(MALLORY, bench.group)
    bench.group.until_sec = time.monotonic() + 60
    assert bench.read(call(1, MALLORY, flags=NO_REPLY_EXPECTED)) == []
    assert (bench.refusals, bench.counted) == ([], 1)


@pytest.mark.attack("C15")
def test_another_sender_written_into_a_call_shields_nobody_but_its_author(bench: Bench) -> None:
    """The broker's own field is the last: what mallory writes into a path does not count as the sender."""
    bench.shed.add(MALLORY, bench.group)
    bench.group.until_sec = time.monotonic() + 60
    fake = b"\x07\x01s\x00\x04\x00\x00\x00" + ALICE.encode()
    forged = call(1, MALLORY, path="/" + "x" * len(fake)).replace(b"x" * len(fake), fake)
    assert bench.read(forged) == []


@pytest.mark.attack("C15")
def test_descriptors_of_a_call_that_is_not_read_are_closed(bench: Bench) -> None:
    bench.shed.add(MALLORY, bench.group)
    bench.group.until_sec = time.monotonic() + 60
    before = len(os.listdir("/proc/self/fd"))
    ours, theirs = os.pipe()
    socket.send_fds(bench.theirs, [call(1, MALLORY)], [ours, theirs])
    os.close(ours)
    os.close(theirs)
    assert bench.read(call(2, ALICE)) == [2]
    assert bench.read(call(3, ALICE)) == [3]
    until_open_are(before)
