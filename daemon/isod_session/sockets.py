"""Fetching from isod the sockets of the user's running containers, for the display to serve."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence

from isod_contract import names
from isod_session.persistence import persist
from isod_wire import Connection, Message, Variant, WireError

_log = logging.getLogger(__name__)

Serve = Callable[[str, dict[str, int], Sequence[str]], Awaitable[None]]
"""(container, listening sockets by resource, granted devices of graphics) -> None; owns the descriptors."""

_NOT_THERE = frozenset({"stopped", "failed"})


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
        await persist("containers' sockets are not served", self._step)

    async def _step(self) -> None:
        await self._wanted.wait()
        self._wanted.clear()
        try:
            await self._round()
        except WireError as error:
            _log.info("no sockets from isod: %s", error)
        except BaseException:
            # No descriptors, most likely: what is served stays so, and the rest is asked for again.
            self._wanted.set()
            raise

    async def _round(self) -> None:
        bus = self._system_bus
        if bus is None:
            return
        with await bus.call(names.BUS_NAME, names.ROOT_PATH, names.MANAGER, "ListContainers") as reply:
            listed = reply.body[0]
            states = {properties["Name"].value: properties["State"].value for _, properties in listed}
        running = [container for container, state in states.items() if state == "running"]
        there = {container for container, state in states.items() if state not in _NOT_THERE}
        # One that the user may no longer use is not listed: nothing of it may go on being served. Nor of one that has
        # stopped: a client that ended with it may still wait in the socket.
        for container in self._served - there:
            self._served.discard(container)
            await self._serve(container, {}, ())
        for container in running:
            try:
                await self._fetch(bus, container)
            except WireError as error:
                _log.info("container %s: no sockets from isod: %s", container, error)

    async def _fetch(self, bus: Connection, container: str) -> None:
        with await bus.call(
            names.BUS_NAME, names.ROOT_PATH, names.MANAGER, "OpenDisplay", "s", (container,), expect="a{sv}"
        ) as reply:
            told = {key: value for key, value in reply.body[0].items() if isinstance(value, Variant)}
            nodes = told["render-nodes"].value if "render-nodes" in told else ()
            found: dict[str, int] = {}
            try:
                for key, value in told.items():
                    if value.signature == "h":
                        found[key] = reply.fds.copy(value.value)
            except OSError:
                for fd in found.values():
                    os.close(fd)
                raise
        self._served.add(container)
        await self._serve(container, found, nodes)
