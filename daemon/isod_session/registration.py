"""Making the live session known to isod, again whenever isod or the session is a new one."""

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import sys
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path

from isod_contract import names
from isod_contract.names import X_SERVERS
from isod_session import xhost
from isod_session.choice import Choice
from isod_session.display import Display
from isod_session.environment import OWN_NAMES, SYSTEMD, SYSTEMD_MANAGER, SYSTEMD_PATH, read_environment
from isod_session.forwarder import Forwarder
from isod_session.inotify import watching
from isod_session.persistence import persist
from isod_session.sockets import Sockets
from isod_session.x11 import XServers
from isod_session.xhost import XServer
from isod_session.xunits import XServerUnits
from isod_wire import Connection, MatchRule, Message, Variant, WireError

_log = logging.getLogger(__name__)

_BUS = "org.freedesktop.DBus"
_INSTALLED_LOOK_SEC = 5.0
_GRAPHICAL_SESSION = SYSTEMD_PATH + "/unit/graphical_2dsession_2etarget"


class Registration:
    """What isod knows of this session, and the file that says so to isoctl."""

    def __init__(self, session_bus: Connection, runtime_directory: Path, environment: Mapping[str, str]) -> None:
        """`runtime_directory` is the user's XDG_RUNTIME_DIR, `environment` that of this process."""
        self._environment = environment
        self._display = Display(runtime_directory, self.refresh)
        self._sockets = Sockets(self._serve)
        program = str(Path(sys.argv[0]).resolve().parent / "isod-xserver")
        self._x_units = XServerUnits(session_bus, program)
        self._x_servers = XServers(runtime_directory, self._display, self._x_units)
        self._choice = Choice(self._display, self._x_servers)
        self._session_bus = session_bus
        self._runtime_directory = runtime_directory
        self._flag = runtime_directory / "isoctl/session-registered"
        self._flag_fd = -1  # holds its lock
        self._system_bus: Connection | None = None
        self._registered: tuple[object, ...] | None = None
        self._begun = self._awaits_installation = False
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """From now on register anew when the graphical session comes or goes; raises WireError."""
        self._begun = True
        environment = await read_environment(self._session_bus, self._environment)
        self._display.begin(dict(entry.split("=", 1) for entry in environment))
        self._sockets.begin()
        if xhost.DIRECTORY.is_dir():
            self._soon(self._follow_x_servers())
        # One that was killed may have left it.
        self._set(None)
        rule = MatchRule(sender=SYSTEMD, path=_GRAPHICAL_SESSION, interface=names.PROPERTIES)
        await self._session_bus.add_match(rule, lambda _: self._soon(self.refresh()))
        try:
            (await self._session_bus.call(SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, "Subscribe", timeout_sec=2.0)).close()
        except WireError as error:
            # A session bus without a user manager: the environment is read before each launch anyway.
            _log.info("no signals from the user manager: %s", error)

    async def use(self, system_bus: Connection, forwarder: Forwarder) -> None:
        """Register on a new connection to the system bus and follow isod on it; raises WireError."""
        self._registered = None
        self._system_bus = system_bus
        self._sockets.use(system_bus)
        self._choice.use(system_bus)
        self._x_units.use(system_bus)
        # Both before the first registration: an isod that starts or speaks in between must not be missed.
        owner_changed = MatchRule(sender=_BUS, interface=_BUS, member="NameOwnerChanged", arg0=names.BUS_NAME)
        await system_bus.add_match(owner_changed, self._on_owner_changed)
        signals = MatchRule(sender=names.BUS_NAME, path_namespace=names.ROOT_PATH)
        await system_bus.add_match(signals, forwarder.pass_signal_on)
        await system_bus.add_match(signals, self._sockets.on_signal)
        # What is registered says whether there is a display, so that is looked for first.
        await self._display.settled()
        await self.refresh()

    def lost(self) -> None:
        """Take note that the connection to the system bus is gone, and the registration with it."""
        self._system_bus = None
        self._sockets.use(None)
        self._choice.use(None)
        self._x_units.use(None)
        self._set(None)

    async def choose(self, untrusted_display: str) -> str:
        """Have windows appear on a caller's compositor (a value of WAYLAND_DISPLAY); a sentence if they do not."""
        await self._display.settled()
        return await self._choice.choose(untrusted_display)

    async def refresh(self) -> None:
        """Register if there is anything that isod does not know; never raises, since a launch goes on without it."""
        async with self._turn:
            environment = await read_environment(self._session_bus, self._environment)
            variables = dict(entry.split("=", 1) for entry in environment)
            if self._display.environment_changed(variables) and not await self._choice.is_in_use():
                self._display.reconsider()
            system_bus = self._system_bus
            x_server = await asyncio.to_thread(XServer.find, variables, self._runtime_directory)
            serves_x11 = has_x_server()
            if not serves_x11 and not self._awaits_installation:
                self._awaits_installation = True
                self._soon(self._await_installation())
            wanted = (environment, self._display.told, x_server, serves_x11)
            if system_bus is None or wanted == self._registered:
                return
            try:
                await self._register(system_bus, variables, x_server)
            except (OSError, WireError) as error:
                _log.warning("isod does not know this session: %s", error)
                self._set(None)
            else:
                self._set(wanted)
                self._sockets.refresh()

    async def close(self) -> None:
        """End what is under way and remove the file."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sockets.close()
        await self._x_servers.close()
        await self._display.close()
        self._set(None)

    async def _serve(self, container: str, sockets: dict[str, int], nodes: Sequence[str]) -> None:
        """Have the sockets of a container served, and nothing that was taken from it."""
        wayland, x11 = sockets.pop("wayland", None), sockets.pop("x11", None)
        for fd in sockets.values():
            os.close(fd)
        try:
            if wayland is None:
                self._display.forget(container)
            else:
                await self._display.serve(container, wayland)
        finally:
            # Also where the other could not be: each descriptor has an owner, and one display is better than none.
            if x11 is None:
                await self._x_servers.forget(container)
            else:
                await self._x_servers.serve(container, x11, nodes)

    async def _register(self, system_bus: Connection, variables: Mapping[str, str], x_server: XServer | None) -> None:
        told = [f"{name}={value}" for name, value in variables.items() if name not in OWN_NAMES]
        session = {"environment": Variant("as", told), "x-server": Variant("b", has_x_server())}
        fds: list[int] = []
        served = self._display.served
        if self._display.told is not None:
            exposure = self._display.told.exposure
            session["wayland"] = Variant("s", exposure.mode)
            session["exposed"] = Variant("as", list(exposure.interfaces))
        if served is not None and served.path.parent == self._runtime_directory:
            session["socket"] = Variant("h", len(fds))
            session["socket-name"] = Variant("s", served.path.name)
            fds.append(served.socket_fd)
        if session_id := variables.get("XDG_SESSION_ID"):
            session["session"] = Variant("s", session_id)
        with contextlib.ExitStack() as stack:
            if x_server is not None:
                session["x11-socket"] = Variant("h", len(fds))
                session["x11-socket-name"] = Variant("s", x_server.name)
                if x_server.cookie:
                    session["x11-cookie"] = Variant("ay", x_server.cookie)
                fds.append(x_server.open())
                stack.callback(os.close, fds[-1])
            manager = (names.BUS_NAME, names.ROOT_PATH, names.MANAGER)
            (await system_bus.call(*manager, "RegisterSession", "a{sv}", (session,), fds=fds)).close()
            (await system_bus.call(*manager, "Subscribe")).close()

    async def _follow_x_servers(self) -> None:
        """Register anew when an X server of the host's comes or goes."""

        async def follow() -> None:
            with watching(str(xhost.DIRECTORY)) as made:
                while True:
                    await made.wait()
                    made.clear()
                    await self.refresh()

        await persist("the host's X servers are not followed", follow)

    async def _await_installation(self) -> None:
        """Register anew once there is a program that serves X11: no launch comes by us that would look."""
        while True:
            await asyncio.sleep(_INSTALLED_LOOK_SEC)
            if has_x_server():
                # Before the refresh: one that finds it taken away again waits anew.
                self._awaits_installation = False
                await self.refresh()
                return

    def _on_owner_changed(self, signal: Message) -> None:
        if signal.signature != "sss":
            return
        self._set(None)
        # An isod that went away is not started again by us: the next call does that.
        if signal.body[2]:
            self._soon(self.refresh())

    def _set(self, registered: tuple[object, ...] | None) -> None:
        self._registered = registered
        if not self._begun:
            return
        try:
            if registered is None:
                self._flag.unlink(missing_ok=True)
                self._hold(-1)
            else:
                self._flag.parent.mkdir(mode=0o700, exist_ok=True)
                self._write_flag()
        except OSError as error:
            _log.warning("%s: %s", self._flag, error.strerror)

    def _write_flag(self) -> None:
        """Write the flag anew, locked: isoctl looks there before it asks us anything. Raises OSError."""
        told = self._display.told
        fresh = self._flag.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # The kernel lets go of it however we end. Before the name: what is there is whole, and held.
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(fd, f"{os.getpid()}\n{told.path if told else ''}\n".encode())
            fresh.replace(self._flag)
        except BaseException:
            os.close(fd)
            raise
        self._hold(fd)

    def _hold(self, fd: int) -> None:
        held, self._flag_fd = self._flag_fd, fd
        if held >= 0:
            os.close(held)

    def _soon(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def has_x_server() -> bool:
    """Tell whether a program is installed that serves X11."""
    return any(shutil.which(program) for program in X_SERVERS)
