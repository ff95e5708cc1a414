"""The transport as a client of a hostile bus: time-outs, deaths, queues and descriptors."""

import asyncio
import contextlib
import os
import resource
import socket
import tempfile
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from attacker import (
    INTERFACE,
    MEMBER,
    PATH,
    REPLY_SERIAL,
    RETURN,
    SENDER,
    SIGNAL,
    UNIX_FDS,
    raw_message,
)
from behaviours import QUICK, UNIT, answers, ask, connected, sends
from isod_wire import (
    CallTimeout,
    Connection,
    ConnectionLost,
    MatchRule,
    TooLarge,
    WireError,
    connect,
)
from peers import Peer, hostile_peer

pytestmark = pytest.mark.asyncio


@pytest.mark.attack("C21")
async def test_calls_that_time_out_or_are_cancelled_leave_nothing() -> None:
    """5.3: dbus-next keeps the entry of each call that timed out for ever."""
    async with connected(Peer.hello) as connection:
        calls = [ask(connection, timeout_sec=0.05) for _ in range(20)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, CallTimeout) for result in results)
        task = asyncio.create_task(ask(connection))
        await asyncio.sleep(0.01)
        assert connection.stats.pending_calls == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert connection.stats.pending_calls == 0


@pytest.mark.attack("C21")
async def test_late_and_duplicate_replies_are_ignored() -> None:
    """C21: a second reply to the same serial, and one to no call, resolve nothing."""

    def reply(serial: int) -> bytes:
        one = raw_message(RETURN, {REPLY_SERIAL: serial, SENDER: ":1.7"}, signature="s", body=["first"])
        other = raw_message(RETURN, {REPLY_SERIAL: serial + 1, SENDER: ":1.7"}, signature="s", body=["guess"])
        return one + one + other

    async with connected(answers(reply)) as connection:
        with await ask(connection) as message:
            assert message.body == ["first"]
        await asyncio.sleep(0.05)
        assert connection.stats.stray_replies == 2


async def test_calls_at_and_after_the_death_of_the_connection() -> None:
    """5.3: call() after the connection died never resolves."""

    async def behave(peer: Peer) -> None:
        await peer.hello()
        for _ in range(3):
            await peer.next_call()
        peer.sock.close()

    async with connected(behave) as connection:
        results = await asyncio.gather(*(ask(connection, timeout_sec=5) for _ in range(100)), return_exceptions=True)
        assert all(isinstance(result, ConnectionLost) for result in results)
        await connection.wait_closed()
        with pytest.raises(ConnectionLost):
            await ask(connection)
        connection.emit("/", "a.b", "S")
        assert connection.stats.pending_calls == 0


@pytest.mark.attack("C12")
async def test_50_connections_leak_no_descriptor(count_fds: Callable[[], int]) -> None:
    """5.3: 50 times connect and disconnect take dbus-next from 9 to 17 descriptors."""
    async with hostile_peer(Peer.hello) as address:
        await (await connect(address, caps=QUICK)).close()
        await asyncio.sleep(0.05)
        before = count_fds()
        for _ in range(50):
            await (await connect(address, caps=QUICK)).close()
        await asyncio.sleep(0.05)
        assert count_fds() == before


@pytest.mark.attack("C12")
async def test_descriptor_closed_by_the_caller_before_the_write() -> None:
    """5.3: dbus-next sent /etc/shadow, whose number was that of the closed /etc/hostname."""
    with tempfile.TemporaryDirectory() as directory:
        wanted, secret = Path(directory) / "wanted", Path(directory) / "secret"
        wanted.write_text("wanted")
        secret.write_text("secret")
        received: asyncio.Queue[bytes] = asyncio.Queue()

        async def behave(peer: Peer) -> None:
            await peer.hello()
            await asyncio.sleep(0.2)
            while True:
                await asyncio.sleep(0.001)
                with contextlib.suppress(BlockingIOError):
                    _, fds, _, _ = socket.recv_fds(peer.sock, 1 << 20, 4)
                    for fd in fds:
                        received.put_nowait(os.pread(fd, 100, 0))
                        os.close(fd)

        async with connected(behave) as connection:
            fill_write_queue(connection)
            fd = os.open(wanted, os.O_RDONLY)
            call = connection.call(":1.7", "/unit", UNIT, "Start", "h", [0], fds=[fd], timeout_sec=1)
            os.close(fd)
            reused = os.open(secret, os.O_RDONLY)
            assert reused == fd
            task = asyncio.create_task(call)
            assert await asyncio.wait_for(received.get(), 5) == b"wanted"
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            os.close(reused)


def fill_write_queue(connection: Connection) -> None:
    """Send until the socket takes no more, to a peer that does not read."""
    for _ in range(100):
        if connection.stats.queue_bytes:
            return
        connection.call_no_reply(":1.9", "/", "a.b", "Fill", "ay", [bytes(100_000)])
    raise AssertionError("the socket never filled up")


@pytest.mark.attack("C21")
async def test_peer_that_never_reads_fills_a_bounded_queue(count_fds: Callable[[], int]) -> None:
    """R17: what is queued for a peer that does not read is bounded; signals are dropped, calls refused."""
    async with connected(silent_after_hello) as connection:
        fill_write_queue(connection)
        before = count_fds()
        for _ in range(200):
            connection.emit("/", "a.b", "S", "ay", [bytes(100_000)], destination=":1.8")
        assert connection.stats.dropped_signals > 0
        assert connection.stats.queue_bytes <= QUICK.max_total_queue_bytes
        with pytest.raises(TooLarge):
            await connection.call(":1.8", "/", "a.b", "C", "hay", [0, bytes(100_000)], fds=[0], timeout_sec=0.2)
        with pytest.raises(CallTimeout):
            await ask(connection, timeout_sec=0.1)
        assert count_fds() == before
        assert not connection.closed


async def silent_after_hello(peer: Peer) -> None:
    """Answer Hello, then read nothing."""
    await peer.hello()
    await asyncio.sleep(60)


@pytest.mark.attack("C12")
async def test_truncated_descriptors_fail_the_message_only(count_fds: Callable[[], int]) -> None:
    """5.4: MSG_CTRUNC is ignored; the message must be dropped with all its descriptors, and its call told."""

    async def behave(peer: Peer) -> None:
        await peer.hello()
        while True:
            call = await peer.next_call()
            fields = {REPLY_SERIAL: call["serial"], SENDER: ":1.7", UNIX_FDS: 8}
            socket.send_fds(peer.sock, [raw_message(RETURN, fields, signature="s", body=["x"])], [0] * 8)

    async with connected(behave) as connection:
        before = count_fds()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        in_use = {int(name) for name in os.listdir("/proc/self/fd")}
        free = [number for number in range(1_000) if number not in in_use]
        # Room for three of the eight, so that the kernel truncates the control data.
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[3], hard))
        try:
            with pytest.raises(TooLarge, match="lost on the way"):
                await ask(connection)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert count_fds() == before
        with await ask(connection) as message:
            assert len(message.fds) == 8
        assert count_fds() == before


@pytest.mark.attack("C21")
@pytest.mark.parametrize(("declared", "sent"), [(3, 1), (1, 3), (17, 17), (5, 0), (0, 200)])
async def test_wrong_number_of_descriptors_leaks_nothing(
    count_fds: Callable[[], int], declared: int, sent: int
) -> None:
    """C12 and C21: a reply with other descriptors than it declares, or too many of them."""

    async def behave(peer: Peer) -> None:
        await peer.hello()
        call = await peer.next_call()
        fields = {REPLY_SERIAL: call["serial"], SENDER: ":1.7"} | ({UNIX_FDS: declared} if declared else {})
        data = raw_message(RETURN, fields, signature="s", body=["x"])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [0] * sent))] if sent else []
        peer.sock.sendmsg([data], rights)

    async with connected(behave) as connection:
        before = count_fds()
        try:
            (await ask(connection)).close()
        except WireError:
            # Cut off: our own socket is closed, and the peer's soon after.
            await connection.wait_closed()
        await asyncio.sleep(0.05)
        assert count_fds() in {before, before - 1, before - 2}


@pytest.mark.attack("C21")
async def test_message_in_single_bytes() -> None:
    """C21: a peer that sends one byte at a time is slow, not wrong."""

    async def behave(peer: Peer) -> None:
        await peer.hello()
        call = await peer.next_call()
        fields = {REPLY_SERIAL: call["serial"], SENDER: ":1.7"}
        for byte in raw_message(RETURN, fields, signature="s", body=["slow"]):
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)

    async with connected(behave) as connection:
        with await ask(connection, timeout_sec=5) as message:
            assert message.body == ["slow"]


async def test_unknown_message_type_is_skipped() -> None:
    """5.4: an unknown message type raises in dbus-next; the specification says to ignore it."""

    def reply(serial: int) -> bytes:
        unknown = raw_message(5, {PATH: "/", MEMBER: "M"}, signature="s", body=["?"])
        return unknown + raw_message(RETURN, {REPLY_SERIAL: serial, SENDER: ":1.7"}, signature="s", body=["known"])

    async with connected(answers(reply)) as connection:
        with await ask(connection) as message:
            assert message.body == ["known"]


@pytest.mark.attack("C21")
async def test_garbage_after_hello_disconnects() -> None:
    """C21: what is not D-Bus ends the connection."""
    async with connected(sends(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as connection:
        await asyncio.wait_for(connection.wait_closed(), 1)
        assert connection.close_reason == "not a D-Bus message"


async def test_peer_without_a_bus() -> None:
    """With hello=False there are no names: calls go to nobody in particular, matches send nothing."""

    async def behave(peer: Peer) -> None:
        await peer.authenticate()
        call = await peer.next_call()
        await peer.send(raw_message(SIGNAL, {PATH: "/a", INTERFACE: "a.b", MEMBER: "S"}, signature="s", body=["hi"]))
        await peer.send(raw_message(RETURN, {REPLY_SERIAL: call["serial"]}, signature="s", body=["done"]))

    async with hostile_peer(behave) as address:
        connection = await connect(address, caps=QUICK, hello=False)
        got: list[str] = []
        await connection.add_match(MatchRule(sender="a.b", member="S"), lambda signal: got.append(signal.body[0]))
        with await connection.call(None, "/a", "a.b", "M", expect="s") as message:
            assert message.body == ["done"]
        assert got == ["hi"]
        await connection.close()
