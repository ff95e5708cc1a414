"""Fixtures for tests that need a message bus of their own."""

import gc
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from attacker import Attack, RawClient
from buses import Bus, Connect, dbus_broker, dbus_daemon
from client import Isoctl
from isod_side import ALICE, BOB, FakePolkit, IsodSide, running_isod_side
from isod_wire import SYSTEM_BUS_CAPS, Caps, Connection, connect
from screen import Screen

_STARTERS = {"dbus-daemon": dbus_daemon, "dbus-broker": dbus_broker}


@pytest.fixture(params=sorted(_STARTERS))
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    """Run a private bus; the test runs once on each implementation that is installed."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    with _STARTERS[request.param]() as running:
        yield running


@pytest.fixture
def attack(bus: Bus) -> Iterator[Attack]:
    """Return a function that opens a RawClient on the bus; all are closed at the end."""
    opened: list[RawClient] = []

    def open_client(uid: int | None = None) -> RawClient:
        opened.append(RawClient(bus, uid))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()


@pytest_asyncio.fixture
async def connect_bus(bus: Bus) -> AsyncIterator[Connect]:
    """Return a coroutine function that connects to the bus; all connections are closed at the end."""
    async with AsyncExitStack() as stack:

        async def open_connection(caps: Caps = SYSTEM_BUS_CAPS) -> Connection:
            connection = await connect(bus.address, caps=caps)
            stack.push_async_callback(connection.close)
            return connection

        yield open_connection


@pytest.fixture
def count_fds() -> Callable[[], int]:
    """Return a function that counts the open descriptors of this process."""

    def count() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    return count


@pytest_asyncio.fixture
async def isod(bus: Bus) -> AsyncIterator[IsodSide]:
    """Run isod's bus side over fakes of the core."""
    if os.getuid() != 0:
        pytest.skip("callers of several uids need root")
    async with running_isod_side(bus) as side:
        yield side


@pytest_asyncio.fixture
async def alice(isod: IsodSide) -> Connection:
    """Give a connection of alice's."""
    return await isod.client(ALICE)


@pytest_asyncio.fixture
async def bob(isod: IsodSide) -> Connection:
    """Give one of bob's."""
    return await isod.client(BOB)


@pytest_asyncio.fixture
async def polkit(isod: IsodSide) -> FakePolkit:
    """Run a polkit that isod asks."""
    return await isod.start_polkit()


@pytest.fixture
def screen(bus: Bus, isod: object) -> Iterator[Screen]:
    """Open a terminal for isoctl; the module says which isod is on the bus."""
    opened = Screen(Isoctl(bus.address))
    yield opened
    opened.end()
