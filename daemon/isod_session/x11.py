"""X servers of containers: started as units of the user when the first client connects, forgotten when they end."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from isod_contract import names
from isod_session.environment import SYSTEMD, SYSTEMD_MANAGER, SYSTEMD_PATH
from isod_session.wayland import WaylandError
from isod_wire import Connection, MatchRule, Message, RemoteError, Variant, WireError

_log = logging.getLogger(__name__)

_UNIT_ACTIVE = ("active", "activating", "reloading")


class Compositors(Protocol):
    """Where an X server finds its compositor: `isod_session.display`."""

    async def open_private(self, container: str, path: Path) -> tuple[Path, int]:
        """Give a socket for a server of this user's that works for a container, and a pipe that ends it."""


class _Server:
    """One container's listening socket, and what is known of the unit that serves it."""

    def __init__(self, listen_fd: int) -> None:
        self.listen_fd = listen_fd
        self.close_fd = -1
        self.is_up = False
        self.unwatch: Callable[[], None] = lambda: None

    def end_context(self) -> None:
        if self.close_fd >= 0:
            os.close(self.close_fd)
            self.close_fd = -1


class XServers:
    """Waits at the containers' sockets, and starts `isod-xserver` when somebody comes."""

    def __init__(
        self, session_bus: Connection, runtime_directory: Path, compositors: Compositors, program: str
    ) -> None:
        """`program` is the path of isod-xserver."""
        self._bus = session_bus
        self._directory = runtime_directory / "isoctl"
        self._compositors = compositors
        self._program = program
        self._servers: dict[str, _Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> bool:
        """Whether any X server runs."""
        return any(server.is_up for server in self._servers.values())

    async def serve(self, container: str, listen_fd: int) -> None:
        """Serve a container's socket from now on; owns the descriptor. Called again with the same: nothing."""
        known = self._servers.get(container)
        if known is not None and _is_same(known.listen_fd, listen_fd):
            os.close(listen_fd)
            return
        if known is not None:
            await self.forget(container)
        server = self._servers[container] = _Server(listen_fd)
        await self._follow_unit(container, server)
        if await self._is_running(container):
            server.is_up = True
            return  # one that outlived the isod-session before us; its end is told
        self._wait_for_client(container, server)

    async def forget(self, container: str) -> None:
        """Stop serving, and end the server: what it shows must go with the grant."""
        server = self._servers.pop(container, None)
        if server is None:
            return
        self._let_go(server)
        await self._call("StopUnit", "ss", (_unit(container), "replace"))

    async def close(self) -> None:
        """Let go of all sockets; servers that run stay."""
        for server in self._servers.values():
            self._let_go(server)
        self._servers.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _let_go(self, server: _Server) -> None:
        asyncio.get_running_loop().remove_reader(server.listen_fd)
        server.unwatch()
        server.end_context()
        os.close(server.listen_fd)

    def _wait_for_client(self, container: str, server: _Server) -> None:
        server.is_up = False
        asyncio.get_running_loop().add_reader(server.listen_fd, self._on_client, container, server)

    def _on_client(self, container: str, server: _Server) -> None:
        server.is_up = True
        asyncio.get_running_loop().remove_reader(server.listen_fd)
        task = asyncio.create_task(self._start(container, server))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, container: str, server: _Server) -> None:
        try:
            path, close_fd = await self._compositors.open_private(container, self._directory)
            if self._servers.get(container) is not server:
                # The grant was withdrawn meanwhile.
                if close_fd >= 0:
                    os.close(close_fd)
                return
            server.close_fd = close_fd
            await self._start_unit(container, server, path)
        except (WaylandError, WireError, OSError) as error:
            _log.warning("no X server for container %s: %s", container, error)
            if self._servers.get(container) is server:
                _turn_away(server.listen_fd)
                server.end_context()
                self._wait_for_client(container, server)

    async def _start_unit(self, container: str, server: _Server, wayland: Path) -> None:
        environment = [f"WAYLAND_DISPLAY={wayland}", f"XDG_RUNTIME_DIR={self._directory.parent}"]
        # Where a distribution's unit of ours says that the servers are (NixOS), and no login's path leads there.
        if path_variable := os.environ.get("PATH"):
            environment.append(f"PATH={path_variable}")
        properties = [
            ["Description", Variant("s", f"X server of container {container}")],
            ["Type", Variant("s", "exec")],
            ["CollectMode", Variant("s", "inactive-or-failed")],
            ["StandardInputFileDescriptor", Variant("h", 0)],
            ["StandardOutput", Variant("s", "journal")],
            ["Environment", Variant("as", environment)],
            ["ExecStart", Variant("a(sasb)", [[self._program, [self._program, container], False]])],
        ]
        body = [_unit(container), "fail", properties, []]
        with await self._bus.call(
            SYSTEMD,
            SYSTEMD_PATH,
            SYSTEMD_MANAGER,
            "StartTransientUnit",
            "ssa(sv)a(sa(sv))",
            body,
            fds=(server.listen_fd,),
        ):
            pass

    async def _follow_unit(self, container: str, server: _Server) -> None:
        rule = MatchRule(sender=SYSTEMD, interface=SYSTEMD_MANAGER, member="UnitRemoved", arg0=_unit(container))

        def on_removed(_: Message) -> None:
            server.end_context()
            (self._directory / f"wayland-{container}").unlink(missing_ok=True)
            if self._servers.get(container) is server:
                self._wait_for_client(container, server)

        match = await self._bus.add_match(rule, on_removed)
        server.unwatch = match.remove

    async def _is_running(self, container: str) -> bool:
        reply = await self._call("GetUnit", "s", (_unit(container),))
        if reply is None:
            return False
        try:
            with await self._bus.call(
                SYSTEMD, reply, names.PROPERTIES, "Get", "ss", (f"{SYSTEMD}.Unit", "ActiveState"), expect="v"
            ) as state:
                return state.body[0].value in _UNIT_ACTIVE
        except WireError:
            return False

    async def _call(self, member: str, signature: str, body: tuple[str, ...]) -> str | None:
        """Call the user manager for an object path; None where it refuses."""
        try:
            with await self._bus.call(
                SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, member, signature, body, expect="o"
            ) as reply:
                return str(reply.body[0])
        except (RemoteError, WireError):
            return None


def _unit(container: str) -> str:
    """Give the name of the user's unit; container names hold nothing that systemd would need escaped."""
    return f"isoctl-x11-{container}.service"


def _is_same(first_fd: int, second_fd: int) -> bool:
    return os.path.sameopenfile(first_fd, second_fd)


def _turn_away(listen_fd: int) -> None:
    """Close what waits at a socket: a client then fails at once, with its own message, instead of hanging."""
    with socket.socket(fileno=os.dup(listen_fd)) as listener:
        listener.setblocking(False)
        try:
            while True:
                listener.accept()[0].close()
        except OSError:
            return
