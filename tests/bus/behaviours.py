"""Behaviours of a bus that answers in its own way, and a connection to it."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from isod_wire import (
    CONTAINER_CAPS,
    Caps,
    Connection,
    Message,
    connect,
)
from peers import Peer, hostile_peer

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
