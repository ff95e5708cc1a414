"""The transport as a client of a hostile bus: every behaviour of a container's bus that dbus-next does not survive."""

import asyncio
import contextlib
import socket
import struct
import tempfile
import time
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
    raw_message,
)
from behaviours import QUICK, UNIT, answers, ask, connected, sends
from isod_wire import (
    AuthFailed,
    BadReply,
    CallTimeout,
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


@pytest.mark.attack("C21")
async def test_authentication_that_never_answers() -> None:
    """5.3: auth never answers."""

    async def behave(peer: Peer) -> None:
        await peer.line()

    async with hostile_peer(behave) as address:
        with pytest.raises(AuthFailed, match="timed out"):
            await connect(address, caps=QUICK)


@pytest.mark.attack("C21")
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
        assert time.monotonic() - started_sec < 5


@pytest.mark.attack("C21")
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


@pytest.mark.attack("C21")
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


@pytest.mark.attack("C21")
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


@pytest.mark.attack("C21")
@pytest.mark.parametrize("length", [0xFFFF_FFFF, 127 * 1024 * 1024, 1024 * 1024 + 1])
async def test_body_length_over_the_cap_disconnects_at_once(length: int) -> None:
    """5.3: a length of 4 GiB makes dbus-next buffer, and call() hangs."""

    def reply(serial: int) -> bytes:
        return raw_message(RETURN, {REPLY_SERIAL: serial, SENDER: ":1.7"}, signature="ay", body_length=length)

    async with connected(answers(reply)) as connection:
        with pytest.raises((ConnectionLost, TooLarge)):
            await ask(connection, timeout_sec=5)
        assert connection.closed


@pytest.mark.attack("C21")
async def test_header_length_over_the_cap_disconnects_at_once() -> None:
    """5.3: the same with the length of the header fields."""
    async with connected(sends(b"l\2\0\1" + struct.pack("<III", 0, 1, 0xFFFF_FFF0))) as connection:
        await asyncio.wait_for(connection.wait_closed(), 1)


@pytest.mark.attack("C21")
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


@pytest.mark.attack("C21")
async def test_signal_flood_is_cut_off() -> None:
    """5.3: a flood of signals holds dbus-next's loop for 20 s."""
    signal = raw_message(SIGNAL, {PATH: "/a", INTERFACE: "a.b", MEMBER: "S", SENDER: ":1.7"})
    async with connected(sends(signal * 50_000)) as connection:
        await asyncio.wait_for(connection.wait_closed(), 5)
        assert connection.close_reason == "the peer floods the connection"
        assert connection.stats.max_turn_sec < 1


@pytest.mark.attack("C21")
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
        assert connection.stats.max_turn_sec < 1
        burst = QUICK.signals.burst if QUICK.signals else 0
        assert burst <= got < 2 * burst


@pytest.mark.attack("C21")
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


@pytest.mark.parametrize(
    "name",
    [
        "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.systemd1.UnitMasked",  # dbus-daemon passes on why a service can't be started
    ],
)
async def test_error_of_the_bus_itself_is_accepted(name: str) -> None:
    """A bus answers for a peer that is not there; only it may, and only with an error."""

    def reply(serial: int) -> bytes:
        fields = {REPLY_SERIAL: serial, SENDER: "org.freedesktop.DBus", ERROR_NAME: name}
        return raw_message(ERROR, fields, signature="s", body=["no such name"])

    async with connected(answers(reply)) as connection:
        with pytest.raises(RemoteError) as caught:
            await ask(connection)
        assert (caught.value.name, caught.value.text) == (name, "no such name")


@pytest.mark.attack("C21")
@pytest.mark.parametrize("signature", ["u", "ss", ""])
async def test_reply_with_another_signature_is_a_bad_reply(signature: str) -> None:
    """5.3: dbus-next returns whatever signature comes."""
    body = {"u": [1], "ss": ["a", "b"], "": []}[signature]

    def reply(serial: int) -> bytes:
        return raw_message(RETURN, {REPLY_SERIAL: serial, SENDER: ":1.7"}, signature=signature, body=body)

    async with connected(answers(reply)) as connection:
        with pytest.raises(BadReply):
            await ask(connection)


@pytest.mark.attack("C21")
async def test_error_with_1_mib_of_text_is_cut() -> None:
    """C21: an error's text is the peer's own and is cut."""

    def reply(serial: int) -> bytes:
        fields = {REPLY_SERIAL: serial, SENDER: ":1.7", ERROR_NAME: "a.b"}
        return raw_message(ERROR, fields, signature="s", body=["\x1b[2J" * 200_000])

    async with connected(answers(reply)) as connection:
        with pytest.raises(RemoteError) as caught:
            await ask(connection)
        assert len(caught.value.text) == 1024
