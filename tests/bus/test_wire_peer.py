"""The transport as a client of a hostile bus: every behaviour of a container's bus that dbus-next does not survive."""

import asyncio
import contextlib
import os
import resource
import socket
import struct
import tempfile
import time
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from attacker import (
    ERROR,
    ERROR_NAME,
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
from isod_wire import (
    CONTAINER_CAPS,
    AuthFailed,
    BadReply,
    CallTimeout,
    Caps,
    Connection,
    ConnectionLost,
    MatchRule,
    Message,
    RemoteError,
    TooLarge,
    WireError,
    connect,
)
from peers import Peer, hostile_peer

pytestmark = pytest.mark.asyncio

QUICK = replace(CONTAINER_CAPS, auth_timeout_sec=0.5)
UNIT = "org.freedesktop.systemd1.Unit"


async def ask(connection: Connection, destination: str = ":1.7", timeout_sec: float = 0.5) -> Message:
    """Make a call that a test's peer answers in its own way."""
    return await connection.call(destination, "/unit", UNIT, "Start", timeout_sec=timeout_sec, expect="s")


def answers(reply: Callable[[int], bytes]) -> Callable[[Peer], Awaitable[None]]:
    """Return a behaviour: a bus that answers each call with the bytes that `reply(serial)` gives."""

    async def behave(peer: Peer) -> None:
        await peer.hello()
        while True:
            call = await peer.next_call()
            await peer.send(reply(int(str(call["serial"]))))

    return behave


def sends(data: bytes) -> Callable[[Peer], Awaitable[None]]:
    """Return a behaviour: a bus that sends `data` after Hello."""

    async def behave(peer: Peer) -> None:
        await peer.hello()
        await peer.send(data)

    return behave


@contextlib.asynccontextmanager
async def connected(behaviour: Callable[[Peer], Awaitable[None]], caps: Caps = QUICK) -> AsyncIterator[Connection]:
    """Connect to a peer with that behaviour."""
    async with hostile_peer(behaviour) as address:
        connection = await connect(address, caps=caps)
        try:
            yield connection
        finally:
            await connection.close()


async def test_authentication_that_never_answers() -> None:
    """5.3: auth never answers."""

    async def behave(peer: Peer) -> None:
        await peer.line()

    async with hostile_peer(behave) as address:
        with pytest.raises(AuthFailed, match="timed out"):
            await connect(address, caps=QUICK)


async def test_endless_auth_line() -> None:
    """5.3: an endless line keeps dbus-next for ever, past every time-out."""

    async def behave(peer: Peer) -> None:
        await peer.line()
        while True:
            await peer.send(b"A" * 65_536)

    async with hostile_peer(behave) as address:
        started_sec = time.monotonic()
        with pytest.raises(AuthFailed, match="line over"):
            await connect(address, caps=QUICK)
        assert time.monotonic() - started_sec < 0.5


@pytest.mark.parametrize(
    "answer", [b"REJECTED EXTERNAL\r\n", b"\r\n", b"OK a\r\nOK b\r\n", b"\xff\xfe\r\n", b"OK a\r\nERROR\r\n"]
)
async def test_authentication_refused_or_garbled(answer: bytes) -> None:
    """C21: anything but the two expected lines ends the handshake."""

    async def behave(peer: Peer) -> None:
        await peer.line()
        await peer.send(answer)

    async with hostile_peer(behave) as address:
        with pytest.raises(AuthFailed):
            await connect(address, caps=QUICK)


async def test_passing_descriptors_is_required() -> None:
    """C21: a peer that does not agree on descriptors is refused."""

    async def behave(peer: Peer) -> None:
        await peer.line()
        await peer.send(b"OK 0123456789abcdef0123456789abcdef\r\n")
        await peer.line()
        await peer.send(b"ERROR\r\n")

    async with hostile_peer(behave) as address:
        with pytest.raises(AuthFailed, match="AGREE_UNIX_FD"):
            await connect(address, caps=QUICK)


async def test_full_accept_backlog_blocks_nothing() -> None:
    """5.3: a full backlog blocks dbus-next's whole process in its constructor."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        path = str(Path(directory) / "socket")
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(path)
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
            with contextlib.suppress(BlockingIOError):
                filler.connect(path)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        with pytest.raises(AuthFailed, match="timed out while connecting"):
            await connect(f"unix:path={path}", caps=QUICK)
        ticking.cancel()
        assert ticks > 20


async def test_nobody_listens() -> None:
    """A socket that is not there is ConnectionLost; the next address in the list is tried."""
    with pytest.raises(ConnectionLost):
        await connect("unix:path=/nonexistent/bus", caps=QUICK)
    async with hostile_peer(Peer.hello) as address:
        connection = await connect(f"unix:path=/nonexistent/bus;tcp:host=a;{address}", caps=QUICK)
        await connection.close()


@pytest.mark.parametrize("length", [0xFFFF_FFFF, 127 * 1024 * 1024, 1024 * 1024 + 1])
async def test_body_length_over_the_cap_disconnects_at_once(length: int) -> None:
    """5.3: a length of 4 GiB makes dbus-next buffer, and call() hangs."""

    def reply(serial: int) -> bytes:
        return raw_message(RETURN, {REPLY_SERIAL: serial, SENDER: ":1.7"}, signature="ay", body_length=length)

    async with connected(answers(reply)) as connection:
        with pytest.raises((ConnectionLost, TooLarge)):
            await ask(connection, timeout_sec=5)
        assert connection.closed


async def test_header_length_over_the_cap_disconnects_at_once() -> None:
    """5.3: the same with the length of the header fields."""
    async with connected(sends(b"l\2\0\1" + struct.pack("<III", 0, 1, 0xFFFF_FFF0))) as connection:
        await asyncio.wait_for(connection.wait_closed(), 1)


async def test_100000_nested_variants_are_a_bad_message() -> None:
    """5.3: 100,000 nested variants raise RecursionError in dbus-next and disconnect it."""
    nested = b"\1v\0" * 100_000 + b"\1y\0\7"

    def reply(serial: int) -> bytes:
        return raw_message(RETURN, {REPLY_SERIAL: serial, SENDER: ":1.7"}, signature="v", raw_body=nested)

    async with connected(answers(reply)) as connection:
        with (
            await connection.call(":1.7", "/unit", UNIT, "Start", timeout_sec=1) as message,
            pytest.raises(WireError, match="nested too deeply"),
        ):
            _ = message.body  # decoded at access
        assert not connection.closed


async def test_signal_flood_is_cut_off() -> None:
    """5.3: a flood of signals holds dbus-next's loop for 20 s."""
    signal = raw_message(SIGNAL, {PATH: "/a", INTERFACE: "a.b", MEMBER: "S", SENDER: ":1.7"})
    async with connected(sends(signal * 50_000)) as connection:
        await asyncio.wait_for(connection.wait_closed(), 5)
        assert connection.close_reason == "the peer floods the connection"
        assert connection.stats.max_turn_sec < 0.1


async def test_flood_of_wanted_signals_is_cut_off() -> None:
    """C21: the same with signals that a match asked for, after more than a busy system would send."""
    signal = raw_message(SIGNAL, {PATH: "/a", INTERFACE: "a.b", MEMBER: "S", SENDER: ":1.7"})
    got = 0

    def on_signal(_signal: Message) -> None:
        nonlocal got
        got += 1

    async def behave(peer: Peer) -> None:
        await peer.hello()
        call = await peer.next_call()
        await peer.send(raw_message(RETURN, {REPLY_SERIAL: call["serial"], SENDER: "org.freedesktop.DBus"}))
        await peer.send(signal * 20_000)

    async with connected(behave) as connection:
        await connection.add_match(MatchRule(sender=":1.7", member="S"), on_signal)
        await asyncio.wait_for(connection.wait_closed(), 5)
        assert connection.stats.max_turn_sec < 0.1
        burst = QUICK.signals.burst if QUICK.signals else 0
        assert burst <= got < 2 * burst


@pytest.mark.parametrize("sender", [":1.666", "org.freedesktop.DBus", "org.example.Evil", None])
@pytest.mark.parametrize("destination", [":1.7", "org.freedesktop.DBus", "org.freedesktop.systemd1"])
async def test_reply_from_another_sender_is_ignored(sender: str | None, destination: str) -> None:
    """5.3: dbus-next accepts a reply from any sender name."""
    if sender == destination or (sender == ":1.666" and destination == "org.freedesktop.systemd1"):
        pytest.skip("that is the peer that was asked, or may be its owner")

    def reply(serial: int) -> bytes:
        fields = {REPLY_SERIAL: serial, SENDER: sender} if sender else {REPLY_SERIAL: serial}
        return raw_message(RETURN, fields, signature="s", body=["forged"])

    async with connected(answers(reply)) as connection:
        with pytest.raises(CallTimeout):
            await ask(connection, destination, timeout_sec=0.2)
        assert connection.stats.stray_replies == 1


async def test_error_of_the_bus_itself_is_accepted() -> None:
    """A bus answers for a peer that is not there; only it may, and only with its own errors."""
    name = "org.freedesktop.DBus.Error.ServiceUnknown"

    def reply(serial: int) -> bytes:
        fields = {REPLY_SERIAL: serial, SENDER: "org.freedesktop.DBus", ERROR_NAME: name}
        return raw_message(ERROR, fields, signature="s", body=["no such name"])

    async with connected(answers(reply)) as connection:
        with pytest.raises(RemoteError) as caught:
            await ask(connection)
        assert (caught.value.name, caught.value.text) == (name, "no such name")


@pytest.mark.parametrize("signature", ["u", "ss", ""])
async def test_reply_with_another_signature_is_a_bad_reply(signature: str) -> None:
    """5.3: dbus-next returns whatever signature comes."""
    body = {"u": [1], "ss": ["a", "b"], "": []}[signature]

    def reply(serial: int) -> bytes:
        return raw_message(RETURN, {REPLY_SERIAL: serial, SENDER: ":1.7"}, signature=signature, body=body)

    async with connected(answers(reply)) as connection:
        with pytest.raises(BadReply):
            await ask(connection)


async def test_error_with_1_mib_of_text_is_cut() -> None:
    """C21: an error's text is the peer's own and is cut."""

    def reply(serial: int) -> bytes:
        fields = {REPLY_SERIAL: serial, SENDER: ":1.7", ERROR_NAME: "a.b"}
        return raw_message(ERROR, fields, signature="s", body=["\x1b[2J" * 200_000])

    async with connected(answers(reply)) as connection:
        with pytest.raises(RemoteError) as caught:
            await ask(connection)
        assert len(caught.value.text) == 1024


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
