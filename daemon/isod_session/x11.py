"""X servers of containers: started as units when the first client connects, forgotten when they end."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from isod_session import handover
from isod_session.backoff import Backoff
from isod_session.confinement import identity_of_host
from isod_session.handover import FAILED, IDLE, READY, UNCONFINED, Handover
from isod_session.wayland import WaylandError
from isod_wire import WireError

_log = logging.getLogger(__name__)

_READY_SEC = 30.0
_LOOK_SEC = 1.0
_REPORT_BYTES_MAX = 4096
_SENTENCE_CHARS_MAX = 300
_REPORTS_MAX = 16  # in a run
_TURNED_AWAY_MAX = 1024  # in one go: somebody may connect as fast as we accept


class Compositors(Protocol):
    """Where an X server finds its compositor: `isod_session.display`."""

    async def connect_private(self, container: str) -> tuple[socket.socket, int]:
        """Give a connection for a server of this user's that works for a container, and a pipe that ends it."""


class Units(Protocol):
    """What runs X servers: `isod_session.xunits`."""

    by_host: bool

    async def start(self, container: str, stdin_fd: int, nodes: Sequence[str]) -> None:
        """Start one; raises WireError."""

    async def stop(self, container: str) -> None:
        """Stop one, if there is one."""

    async def is_running(self, container: str) -> bool:
        """Tell whether one runs."""


class _Server:
    """One container's listening socket, and what is known of the unit that serves it."""

    def __init__(self, container: str, listen_fd: int) -> None:
        self.container = container
        self.listen_fd = listen_fd
        self.nodes: Sequence[str] = ()
        self.unit_nodes: Sequence[str] = ()  # that its unit was made with
        self.is_up = False
        self.backoff = Backoff()
        self.timer: asyncio.TimerHandle | None = None
        self.control: socket.socket | None = None  # the unit's reports; between runs it waits there for the next
        self.begin_run()

    def is_of(self, listen_fd: int) -> bool:
        return os.path.sameopenfile(self.listen_fd, listen_fd)

    def begin_run(self) -> None:
        self.close_fd = -1  # ends what the compositor does for this run
        self.is_given = self.is_again = self.is_ready = self.is_idle = self.is_unconfined = False
        self.reports = 0
        self.reason = ""

    def end_run(self) -> None:
        self.cancel_timer()
        self.is_given = False
        if self.close_fd >= 0:
            os.close(self.close_fd)
        self.close_fd = -1

    def drop_unit(self) -> None:
        if self.control is not None:
            asyncio.get_running_loop().remove_reader(self.control)
            self.control.close()
        self.control = None

    def cancel_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class XServers:
    """Waits at the containers' sockets, and starts `isod-xserver` when somebody comes."""

    def __init__(self, runtime_directory: Path, compositors: Compositors, units: Units) -> None:
        """Take the user's XDG_RUNTIME_DIR, and what runs the servers."""
        self._directory = runtime_directory / "isoctl"
        self._compositors = compositors
        self._units = units
        self._servers: dict[str, _Server] = {}
        self._without: set[str] = set()
        self._turns: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> bool:
        """Whether any X server runs."""
        return any(server.is_up for server in self._servers.values())

    async def serve(self, container: str, listen_fd: int, nodes: Sequence[str] = ()) -> None:
        """Serve a container's socket from now on; owns the descriptor. Called again with the same: nothing.

        `nodes` are the devices of graphics that the container is granted.
        """
        known = self._servers.get(container)
        is_same = known is not None and known.is_of(listen_fd)
        if known is not None and is_same and not (known.is_up and set(known.nodes) - set(nodes)):
            os.close(listen_fd)
            if known.nodes != nodes:
                known.nodes = nodes
                await self._end_waiting_unit(known)
            return
        # A server that runs hands every new client the devices that it was started with: it ends with their grant.
        if known is not None:
            await self.forget(container)
        self._without.discard(container)
        server = self._servers[container] = _Server(container, listen_fd)
        server.nodes = nodes
        if await self._units.is_running(container):
            server.is_up = True
            self._spawn(self._follow_older(server))
        elif self._is_served(server):
            self._wait_for_client(server)

    async def forget(self, container: str) -> None:
        """Stop serving, and end the server: what it shows must go with the grant."""
        server = self._servers.pop(container, None)
        if server is not None:
            self._let_go(server)
        elif container in self._without:
            return
        # Also one that is not ours: it may be what an isod-session before us started.
        self._without.add(container)
        async with self._turn(container):
            await self._units.stop(container)

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
        server.end_run()
        server.drop_unit()
        os.close(server.listen_fd)

    def _is_served(self, server: _Server) -> bool:
        return self._servers.get(server.container) is server

    def _turn(self, container: str) -> asyncio.Lock:
        return self._turns.setdefault(container, asyncio.Lock())

    def _wait_for_client(self, server: _Server) -> None:
        server.is_up = False
        server.cancel_timer()
        asyncio.get_running_loop().add_reader(server.listen_fd, self._on_client, server)

    def _on_client(self, server: _Server) -> None:
        asyncio.get_running_loop().remove_reader(server.listen_fd)
        server.is_up = True
        self._spawn(self._start(server))

    async def _start(self, server: _Server) -> None:
        server.backoff.started(asyncio.get_running_loop().time())
        server.begin_run()
        try:
            await self._launch(server)
        except WaylandError as error:
            if self._is_served(server):
                # Not the server's fault: it is tried as soon as somebody comes when the compositor is back.
                server.end_run()
                self._turn_away_for(server, str(error), _LOOK_SEC)
        except (WireError, OSError, RuntimeError) as error:
            # RuntimeError: no thread can be started just now.
            if self._is_served(server):
                server.drop_unit()
                server.reason = str(error)
                self._ended(server)

    async def _launch(self, server: _Server) -> None:
        """Start the unit and give it what it needs. Raises WaylandError, WireError, OSError."""
        wayland, close_fd = await self._compositors.connect_private(server.container)
        with wayland:
            if not self._is_served(server):
                # The grant was withdrawn meanwhile.
                if close_fd >= 0:
                    os.close(close_fd)
                return
            server.close_fd = close_fd
            with self._listening_for_clipboard(server.container) as clipboard:
                given = Handover(
                    container=server.container,
                    host=identity_of_host(),
                    has_gpu=bool(server.nodes),
                    path=os.environ.get("PATH", os.defpath),
                    fds=(server.listen_fd, wayland.fileno(), clipboard.fileno()),
                )
                if server.control is not None and server.unit_nodes != server.nodes:
                    # Granted while it served: the unit that waits can't open them.
                    server.drop_unit()
                    async with self._turn(server.container):
                        await self._units.stop(server.container)
                if not self._give_to_waiting_unit(server, given):
                    await self._start_unit(server, given)
        if self._is_served(server) and server.is_given:
            server.timer = asyncio.get_running_loop().call_later(_READY_SEC, self._too_late, server)

    def _give_to_waiting_unit(self, server: _Server, given: Handover) -> bool:
        """Have the unit of the run before serve again, if it is still there: walls and program stand."""
        if server.control is None:
            return False
        try:
            handover.send(server.control, given)
        except OSError:
            server.drop_unit()
            return False
        server.is_given = server.is_again = True
        return True

    async def _start_unit(self, server: _Server, given: Handover) -> None:
        """Start a unit that has this on its standard input. Raises WireError, OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        server.control = ours
        with theirs:
            handover.send(ours, given)
            async with self._turn(server.container):
                if self._is_served(server):
                    server.unit_nodes = server.nodes
                    await self._units.start(server.container, theirs.fileno(), server.unit_nodes)
        if self._is_served(server):
            server.is_given = True
            asyncio.get_running_loop().add_reader(ours, self._on_report, server)

    async def _end_waiting_unit(self, server: _Server) -> None:
        """End a unit that waits between runs: the next one is to have other devices."""
        if server.control is not None and not server.is_up:
            server.drop_unit()
            async with self._turn(server.container):
                await self._units.stop(server.container)

    @contextlib.contextmanager
    def _listening_for_clipboard(self, container: str) -> Iterator[socket.socket]:
        """Make the socket on which `isoctl clipboard` asks: the server itself reaches no directory. Raises OSError."""
        path = self._directory / f"clipboard-{container}"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
            listener.bind(str(path))
            listener.listen(4)
            yield listener

    def _on_report(self, server: _Server) -> None:
        try:
            untrusted_report = server.control.recv(_REPORT_BYTES_MAX).decode(errors="replace") if server.control else ""
        except BlockingIOError:
            return
        except OSError:
            untrusted_report = ""
        server.reports += 1
        if not untrusted_report or server.reports > _REPORTS_MAX:
            # The other end was the unit's, and its systemd's for as long as there is the unit.
            self._unit_ended(server, is_over=not untrusted_report)
        elif untrusted_report == READY:
            server.is_ready = True
            server.cancel_timer()
        elif untrusted_report == IDLE:
            if server.is_given:
                server.is_idle = True
                self._ended(server)
        else:
            server.is_unconfined = untrusted_report.startswith(UNCONFINED) and not server.is_ready
            server.reason = _sentence(untrusted_report)

    def _too_late(self, server: _Server) -> None:
        server.timer = None
        server.reason = f"it was not ready within {_READY_SEC:.0f} s"
        self._spawn(self._units.stop(server.container))

    def _unit_ended(self, server: _Server, *, is_over: bool) -> None:
        server.drop_unit()
        if not is_over:
            # It floods us: whoever took it over.
            server.reason, server.is_ready = "it reports without end", True
            self._spawn(self._units.stop(server.container))
        if not server.is_given:
            return  # between two runs: the next client has a new one started
        if server.is_again and not server.is_ready and not server.reason:
            # It left while it was given this run.
            server.end_run()
            self._spawn(self._start(server))
            return
        self._ended(server)

    def _ended(self, server: _Server) -> None:
        """Deal with the end of a run; its unit may wait for the next."""
        server.end_run()
        (self._directory / f"clipboard-{server.container}").unlink(missing_ok=True)
        # Nothing was heard of it: systemd could not make the unit's walls, or the program itself found one missing.
        if not self._units.by_host and not server.is_ready and (server.is_unconfined or not server.reason):
            self._units.by_host = True
            _log.warning(
                "your systemd can't confine the X server of container %s (%s); the host's does from now on",
                server.container,
                server.reason or "its namespaces were refused",
            )
            self._spawn(self._start(server))
            return
        wait_sec = server.backoff.ended(asyncio.get_running_loop().time(), well=server.is_idle)
        if not wait_sec:
            self._wait_for_client(server)
            return
        reason = server.reason or ("it was started often" if server.is_idle else "it ended")
        self._turn_away_for(server, reason, wait_sec)

    def _turn_away_for(self, server: _Server, reason: str, wait_sec: float) -> None:
        told = "no X server for container %s: %s; X clients are turned away for %.0f s"
        _log.warning(told, server.container, reason, wait_sec)
        server.is_up = False
        self._rest(server, asyncio.get_running_loop().time() + wait_sec)

    def _rest(self, server: _Server, until_sec: float) -> None:
        """Turn away who waits, once a second: whoever comes fast must not cost more than who comes once."""
        loop = asyncio.get_running_loop()
        _turn_away(server.listen_fd, server.container)
        left_sec = until_sec - loop.time()
        if left_sec <= 0:
            self._wait_for_client(server)
        else:
            server.timer = loop.call_later(min(left_sec, _LOOK_SEC), self._rest, server, until_sec)

    async def _follow_older(self, server: _Server) -> None:
        """Wait for the end of one that outlived the isod-session before us: nothing tells us of it."""
        while await self._units.is_running(server.container):
            await asyncio.sleep(_LOOK_SEC)
            if not self._is_served(server):
                return
        if self._is_served(server):
            self._wait_for_client(server)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _sentence(untrusted_report: str) -> str:
    """Give what a server says of itself, fit for a line of the journal."""
    text = untrusted_report.removeprefix(FAILED).removeprefix(UNCONFINED)[:_SENTENCE_CHARS_MAX]
    return "".join(char if char.isprintable() else "?" for char in text)


def _turn_away(listen_fd: int, container: str) -> None:
    """Close what waits at a socket: a client then fails at once, with its own message, instead of hanging."""
    try:
        with socket.socket(fileno=os.dup(listen_fd)) as listener:
            listener.setblocking(False)
            for _ in range(_TURNED_AWAY_MAX):
                listener.accept()[0].close()
    except BlockingIOError:
        return
    except OSError as error:
        _log.warning("container %s: X clients wait, since they can't be turned away: %s", container, error.strerror)
