"""Who is sent to next: nobody waits behind all that another is sent, and each gets his messages in order."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from isod_wire import SYSTEM_BUS_CAPS
from isod_wire.fds import FdSet
from isod_wire.lanes import Lanes
from isod_wire.outgoing import Outgoing
from isod_wire.writer import WriteQueue

MALLORY, ALICE = ":1.66", ":1.1"


def outgoing(text: str, lane: str = "") -> Outgoing:
    item = Outgoing(text.encode(), None, FdSet())
    item.lane = lane
    return item


def texts(items: list[Outgoing]) -> list[str]:
    return [bytes(item.data).decode() for item in items]


def test_lanes_take_turns_and_keep_their_order() -> None:
    lanes = Lanes()
    for text in ("a1", "a2", "a3", "b1", "c1", "b2"):
        lanes.push(outgoing(text, text[0]))
    assert texts(lanes.take(4, 100)) == ["a1", "b1", "c1", "a2"]
    assert texts(lanes.take(4, 100)) == ["b2", "a3"]
    assert not lanes
    assert lanes.take(4, 100) == []


def test_no_more_is_taken_than_fits_but_one_always_is() -> None:
    lanes = Lanes()
    for text in ("a" * 10, "b" * 3, "c" * 3, "d" * 3):
        lanes.push(outgoing(text, text[0]))
    assert texts(lanes.take(9, 5)) == ["a" * 10]
    assert texts(lanes.take(9, 4)) == ["bbb", "ccc"]


def test_what_was_not_sent_is_next_again_in_its_old_order() -> None:
    lanes = Lanes()
    for text in ("a1", "a2", "a3", "b1"):
        lanes.push(outgoing(text, text[0]))
    taken = lanes.take(3, 100)
    lanes.push(outgoing("c1", "c"))
    lanes.give_back(reversed(taken))
    assert texts(lanes.take(9, 100)) == ["a1", "b1", "c1", "a2", "a3"]


class Bench:
    """A queue whose reader reads only when the test does."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.ours = ours
        ours.setblocking(False)
        assert SYSTEM_BUS_CAPS.send_buffer_bytes is not None
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SYSTEM_BUS_CAPS.send_buffer_bytes // 2)
        caps = replace(SYSTEM_BUS_CAPS, max_queue_bytes=1 << 20)
        self.queue = WriteQueue(asyncio.get_running_loop(), ours, caps, self._broken)
        self.queue.lane_of = lambda destination: destination
        self.received = b""

    def _broken(self, reason: str) -> None:
        raise AssertionError(reason)

    def push(self, destination: str, text: str) -> None:
        assert self.queue.push(Outgoing(f"{text}\n".encode(), destination, FdSet()))

    async def lines(self) -> list[str]:
        """Give all that is sent, in the order in which it is."""
        self.theirs.setblocking(False)
        while not self.queue.emptied.is_set():
            await asyncio.sleep(0)
            try:
                self.received += self.theirs.recv(4096)
            except BlockingIOError:
                continue
        return self.received.decode().split()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    with made.ours, made.theirs:
        yield made
        made.queue.close()


@pytest.mark.attack("C15")
async def test_a_reply_does_not_wait_behind_those_that_another_does_not_fetch(bench: Bench) -> None:
    """What the kernel holds already is before it, and no more: some messages of some hundred."""
    for number in range(500):
        bench.push(MALLORY, f"{number:0200}")
    bench.push(ALICE, "hers")
    lines = await bench.lines()
    assert lines.index("hers") < 40
    assert [int(line) for line in lines if line != "hers"] == list(range(500))


@pytest.mark.attack("C15")
async def test_a_refusal_waits_for_everything_else_and_is_sent_at_last(bench: Bench) -> None:
    for number in range(100):
        bench.push(MALLORY, f"{number:0200}")
    bench.queue.push_idle(Outgoing(b"refused\n", MALLORY, FdSet()))
    for number in range(100, 150):
        bench.push(MALLORY, f"{number:0200}")
    lines = await bench.lines()
    assert lines[-1] == "refused"
    assert bench.queue.queue_bytes == 0


async def test_messages_of_any_size_arrive_whole_and_in_order(bench: Bench) -> None:
    for number in range(20):
        bench.push(f":1.{number % 3}", f"{number}:" + "x" * (number * 3000))
    lines = await bench.lines()
    assert sorted(len(line) for line in lines) == sorted(len(f"{n}:") + n * 3000 for n in range(20))
    for rest in range(3):
        numbers = [int(line.partition(":")[0]) for line in lines]
        assert [n for n in numbers if n % 3 == rest] == list(range(rest, 20, 3))
