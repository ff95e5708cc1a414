"""A peer that does what a test tells it to, in the place of a container's bus."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from attacker import REPLY_SERIAL, RETURN, SENDER, raw_message
from isod_wire.header import read_fields, read_fixed_header

Behaviour = Callable[["Peer"], Awaitable[None]]


@dataclass
class Peer:
    """One accepted connection: reads lines and messages, writes anything."""

    sock: socket.socket
    buffer: bytes = b""
    calls: list[dict[str, object]] = field(default_factory=list)

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def line(self) -> bytes:
        """Read one line of the handshake."""
        while b"\r\n" not in self.buffer:
            await self._receive()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    async def authenticate(self) -> None:
        """Do the server's side of the handshake."""
        await self.line()
        await self.send(b"OK 0123456789abcdef0123456789abcdef\r\n")
        await self.line()
        await self.send(b"AGREE_UNIX_FD\r\n")
        await self.line()

    async def next_call(self) -> dict[str, object]:
        """Read a message and return its header fields and `serial`."""
        while len(self.buffer) < 16 or len(self.buffer) < read_fixed_header(self.buffer).total_bytes:
            await self._receive()
        fixed = read_fixed_header(self.buffer)
        found: dict[str, object] = {**read_fields(self.buffer, fixed), "serial": fixed.serial}
        self.buffer = self.buffer[fixed.total_bytes :]
        self.calls.append(found)
        return found

    async def hello(self) -> None:
        """Do the handshake and answer Hello, as a bus does."""
        await self.authenticate()
        call = await self.next_call()
        fields = {REPLY_SERIAL: call["serial"], SENDER: "org.freedesktop.DBus"}
        await self.send(raw_message(RETURN, fields, signature="s", body=[":1.5"]))

    async def _receive(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self.sock, 1 << 16)
        if not data:
            raise EOFError
        self.buffer += data


@contextlib.asynccontextmanager
async def hostile_peer(behaviour: Behaviour) -> AsyncIterator[str]:
    """Listen, give each connection to `behaviour`, and yield the D-Bus address."""
    loop = asyncio.get_running_loop()
    # Abstract, so that nothing is left behind; the kernel picks the name.
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.bind("")
    listener.listen(16)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(sock: socket.socket) -> None:
        with sock, contextlib.suppress(EOFError, OSError):
            await behaviour(Peer(sock))
            # Stay connected: a test that wants the peer to hang up closes the socket itself.
            while await loop.sock_recv(sock, 1 << 16):
                pass

    async def accept() -> None:
        while True:
            sock, _ = await loop.sock_accept(listener)
            tasks.add(asyncio.create_task(serve(sock)))

    accepting = asyncio.create_task(accept())
    try:
        yield "unix:abstract=" + listener.getsockname()[1:].decode()
    finally:
        for task in (accepting, *tasks):
            task.cancel()
        await asyncio.gather(accepting, *tasks, return_exceptions=True)
        listener.close()
