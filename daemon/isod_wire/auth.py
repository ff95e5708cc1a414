"""The client's side of the SASL handshake (specification, "Authentication Protocol"), EXTERNAL only."""

import asyncio
import os
import socket

from isod_wire.errors import AuthFailed

_SHOWN_BYTES = 60


async def authenticate(sock: socket.socket, uid: int | None, max_line_bytes: int) -> None:
    """Authenticate as `uid` (None: our own) and agree on passing descriptors.

    Raises AuthFailed if the peer refuses, sends too long a line or anything unasked. Has no time-out of its own.
    """
    loop = asyncio.get_running_loop()
    identity = str(os.geteuid() if uid is None else uid).encode().hex()
    await loop.sock_sendall(sock, f"\0AUTH EXTERNAL {identity}\r\n".encode())
    _expect(b"OK", await _read_line(loop, sock, max_line_bytes))
    await loop.sock_sendall(sock, b"NEGOTIATE_UNIX_FD\r\n")
    _expect(b"AGREE_UNIX_FD", await _read_line(loop, sock, max_line_bytes))
    await loop.sock_sendall(sock, b"BEGIN\r\n")


def _expect(command: bytes, line: bytes) -> None:
    if line.split(b" ", 1)[0] != command:
        raise AuthFailed(f"expected {command.decode()}, got {line[:_SHOWN_BYTES]!r}")


async def _read_line(loop: asyncio.AbstractEventLoop, sock: socket.socket, max_line_bytes: int) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        # The cap ends an endless line even if sock_recv never suspends because there is always more to read, in
        # which case no time-out would ever get its turn.
        if len(line) >= max_line_bytes:
            raise AuthFailed(f"authentication line over {max_line_bytes} bytes")
        chunk = await loop.sock_recv(sock, max_line_bytes - len(line))
        if not chunk:
            raise AuthFailed("peer closed the connection while authenticating")
        line += chunk
        if b"\r\n" in line[:-2]:
            raise AuthFailed("peer sent more than one line")
    return line[:-2]
