"""Fetching from isod the sockets of the user's running containers, for the display to serve."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from isod_contract import names
from isod_wire import Connection, Message, Variant, WireError

_log = logging.getLogger(__name__)

Serve = Callable[[str, dict[str, int]], Awaitable[None]]
"""(container, listening sockets by resource) -> None; owns the descriptors."""


class Sockets:
    """Asks isod again whenever a container comes up or gets another socket; rounds come one after another."""

    def __init__(self, serve: Serve) -> None:
        """Take who serves them."""
        self._serve = serve
        self._system_bus: Connection | None = None
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._served: set[str] = set()

    def use(self, system_bus: Connection | None) -> None:
        """Ask isod on this connection from now on."""
        self._system_bus = system_bus

    def begin(self) -> None:
        """Begin to work."""
        self._task = asyncio.create_task(self._work())

    def refresh(self) -> None:
        """Ask for all sockets again, soon."""
        self._wanted.set()

    def on_signal(self, signal: Message) -> None:
        """Look at a signal of isod's."""
        if (signal.path or "").startswith(names.CONTAINER_PATH_PREFIX) and signal.signature == "sa{sv}as":
            changed = signal.body[1]
            if "Attachments" in changed or "State" in changed or "Grants" in changed:
                self._wanted.set()

    async def close(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._round()
            except WireError as error:
                _log.info("no sockets from isod: %s", error)

    async def _round(self) -> None:
        bus = self._system_bus
        if bus is None:
            return
        with await bus.call(names.BUS_NAME, names.ROOT_PATH, names.MANAGER, "ListContainers") as reply:
            listed = reply.body[0]
            running = [properties["Name"].value for _, properties in listed if properties["State"].value == "running"]
        # One that the user may no longer use is not listed: nothing of it may go on being served.
        for container in self._served - {properties["Name"].value for _, properties in listed}:
            self._served.discard(container)
            await self._serve(container, {})
        for container in running:
            try:
                await self._fetch(bus, container)
            except WireError as error:
                _log.info("container %s: no sockets from isod: %s", container, error)

    async def _fetch(self, bus: Connection, container: str) -> None:
        with await bus.call(
            names.BUS_NAME, names.ROOT_PATH, names.MANAGER, "OpenDisplay", "s", (container,), expect="a{sv}"
        ) as reply:
            found = {
                key: reply.fds.copy(value.value)
                for key, value in reply.body[0].items()
                if isinstance(value, Variant) and value.signature == "h"
            }
        self._served.add(container)
        await self._serve(container, found)
