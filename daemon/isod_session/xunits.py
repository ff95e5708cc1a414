"""The units of containers' X servers: run by the user's systemd, or where that has no such walls by the host's.

A user's systemd can't make namespaces where the host forbids user namespaces to users (user.max_user_namespaces,
AppArmor). Then isod has the host's systemd run the same unit as the user, for as long as the login lasts.
"""

import logging
import os
from collections.abc import Sequence

from isod_contract import names
from isod_contract.sandbox import properties, x_server
from isod_contract.versions import numbers
from isod_session.environment import SYSTEMD, SYSTEMD_MANAGER, SYSTEMD_PATH
from isod_wire import Connection, RemoteError, Variant, WireError

_log = logging.getLogger(__name__)

_ACTIVE = ("active", "activating", "reloading", "deactivating")
_TIMEOUT_SEC = 10.0


class XServerUnits:
    """Starts, stops and finds them."""

    def __init__(self, session_bus: Connection, program: str) -> None:
        """`program` is the path of isod-xserver."""
        self._session_bus = session_bus
        self._system_bus: Connection | None = None
        self._program = program
        self.by_host = False  # whether the host's systemd runs them, since the user's can't

    def use(self, system_bus: Connection | None) -> None:
        """Reach isod and the host's systemd on this connection from now on."""
        self._system_bus = system_bus

    async def start(self, container: str, stdin_fd: int, nodes: Sequence[str]) -> None:
        """Start a container's server with this standard input; the descriptor stays the caller's. Raises WireError."""
        if self.by_host:
            await self._call_isod("StartXServer", "sa{sv}", (container, {"control": Variant("h", 0)}), (stdin_fd,))
            return
        version = await self._version()
        program = x_server(self._program, container, nodes)
        wanted = [[name, Variant(kind, value)] for name, kind, value in properties(program, systemd=version)]
        wanted.append(["StandardInputFileDescriptor", Variant("h", 0)])
        unit = names.x_server_unit(container)
        with await self._session_bus.call(
            SYSTEMD,
            SYSTEMD_PATH,
            SYSTEMD_MANAGER,
            "StartTransientUnit",
            "ssa(sv)a(sa(sv))",
            [unit, "fail", wanted, []],
            fds=(stdin_fd,),
            timeout_sec=_TIMEOUT_SEC,
        ):
            pass

    async def stop(self, container: str) -> None:
        """Stop a container's server, whoever runs it; that there is none is no error."""
        try:
            with await self._session_bus.call(
                SYSTEMD,
                SYSTEMD_PATH,
                SYSTEMD_MANAGER,
                "StopUnit",
                "ss",
                (names.x_server_unit(container), "replace"),
                timeout_sec=_TIMEOUT_SEC,
            ):
                pass
        except WireError as error:
            _log.debug("container %s: no X server stopped: %s", container, error)
        if self.by_host or await self._is_active(self._system_bus, names.x_server_unit(container, os.getuid())):
            try:
                await self._call_isod("StopXServer", "s", (container,))
            except WireError as error:
                _log.warning("container %s: its X server was not stopped: %s", container, error)

    async def is_running(self, container: str) -> bool:
        """Tell whether one runs: it may have outlived the isod-session before us."""
        if await self._is_active(self._session_bus, names.x_server_unit(container)):
            return True
        return await self._is_active(self._system_bus, names.x_server_unit(container, os.getuid()))

    async def _is_active(self, bus: Connection | None, unit: str) -> bool:
        if bus is None:
            return False
        try:
            with await bus.call(
                SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, "GetUnit", "s", (unit,), expect="o", timeout_sec=_TIMEOUT_SEC
            ) as reply:
                path = str(reply.body[0])
            arguments = (f"{SYSTEMD}.Unit", "ActiveState")
            with await bus.call(
                SYSTEMD, path, names.PROPERTIES, "Get", "ss", arguments, expect="v", timeout_sec=_TIMEOUT_SEC
            ) as reply:
                return reply.body[0].value in _ACTIVE
        except WireError:
            return False

    async def _version(self) -> int:
        arguments = (SYSTEMD_MANAGER, "Version")
        with await self._session_bus.call(
            SYSTEMD, SYSTEMD_PATH, names.PROPERTIES, "Get", "ss", arguments, expect="v", timeout_sec=_TIMEOUT_SEC
        ) as reply:
            return numbers(str(reply.body[0].value))[0]

    async def _call_isod(self, member: str, signature: str, body: Sequence[object], fds: Sequence[int] = ()) -> None:
        if self._system_bus is None:
            raise RemoteError(f"{names.BUS_NAME}.NoBus", "isod can't be reached")
        with await self._system_bus.call(
            names.BUS_NAME, names.ROOT_PATH, names.MANAGER, member, signature, body, fds=fds, timeout_sec=_TIMEOUT_SEC
        ):
            pass
