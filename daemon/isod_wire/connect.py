"""Making a connection: socket, handshake and Hello within one deadline."""

import asyncio
import socket

from isod_wire.address import open_socket
from isod_wire.auth import authenticate
from isod_wire.caps import Caps
from isod_wire.connection import Connection
from isod_wire.errors import AuthFailed, ConnectionLost


async def connect(
    target: str | socket.socket,
    *,
    caps: Caps,
    external_uid: int | None = None,
    hello: bool = True,
    name: str = "",
) -> Connection:
    """Connect to a bus, or with `hello=False` to a peer.

    `target` is an address list ("unix:path=...;unix:abstract=...") or a connected stream socket, which is taken over
    and closed on failure too. `external_uid` is the identity to claim, by default our own. `name` is for logs. All of
    it must be done within caps.auth_timeout_sec. Raises ConnectionLost, AuthFailed, and RemoteError from Hello.
    """
    sock = target if isinstance(target, socket.socket) else None
    connection: Connection | None = None
    try:
        async with asyncio.timeout(caps.auth_timeout_sec):
            if isinstance(target, str):
                sock = await open_socket(target)
            assert sock is not None  # noqa: S101 - one of the two branches has set it
            sock.setblocking(False)
            await authenticate(sock, external_uid, caps.max_auth_line_bytes)
            connection = Connection(sock, caps, name)
            if hello:
                await connection.hello()
            return connection
    except BaseException as error:
        if connection is not None:
            await connection.close()
        elif sock is not None:
            sock.close()
        if isinstance(error, TimeoutError):
            stage = "connecting" if sock is None else "authenticating"
            raise AuthFailed(f"timed out while {stage}") from None
        if isinstance(error, OSError):
            raise ConnectionLost(f"lost while connecting: {error}") from None
        raise
