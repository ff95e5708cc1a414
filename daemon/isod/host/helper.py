"""The client side of isod-helper: acts that need rights which isod does not have."""

import asyncio
import contextlib
import errno
import socket

from isod.host import helper_socket
from isod.host.helper_units import HelperUnits, SocketUnits
from isod.host.parallel_helper import ParallelHelper
from isod_contract.names import (
    DEVICES_HELPER_SOCKET,
    HELPER_SOCKET,
    MOUNT_HELPER_SOCKET,
    NODE_HELPER_SOCKET,
    TERMINAL_HELPER_SOCKET,
)

_TIMEOUT_SEC = 20.0  # the helper gives itself 5, and a busy systemd has to start it

Request = dict[str, object]


class Helper:
    """Calls isod-helper, which systemd starts for each connection."""

    def __init__(
        self,
        path: str = HELPER_SOCKET,
        mount_path: str = MOUNT_HELPER_SOCKET,
        node_path: str = NODE_HELPER_SOCKET,
        terminal_path: str = TERMINAL_HELPER_SOCKET,
        *,
        units: SocketUnits | None = None,
    ) -> None:
        """Take the paths of its sockets, and the host's systemd, which has them listen."""
        self._path = path
        self._units = HelperUnits(units)
        self._mounts = ParallelHelper(mount_path, self._units)
        self._terminals = ParallelHelper(terminal_path, self._units)
        self._nodes = StandingHelper(node_path, self._units)

    async def connect_bus(self, socket_path_fd: int, uid: int) -> socket.socket:
        """Connect to a container's bus as its root.

        `socket_path_fd` is an O_PATH fd of the bus's socket, `uid` the host's uid of the container's root. Gives a
        connected, non-blocking socket. Raises OSError: that of the connection, TimeoutError, ConnectionError if the
        helper gave no proper answer.
        """
        fds = await self._call(self._path, {"verb": "connect-bus", "uid": uid}, [socket_path_fd])
        if not fds:
            raise ConnectionError("isod-helper sent no descriptor")
        sock = socket.socket(fileno=fds[0])
        sock.setblocking(False)
        return sock

    async def open_root(self, pidfd: int) -> int:
        """Give the root of the container that a process is in, as a path only. Raises OSError."""
        fds = await self._mount({"verb": "open-root"}, [pidfd])
        if not fds:
            raise ConnectionError("isod-helper sent no descriptor")
        return fds[0]

    def expect_terminal(self) -> None:
        """Have a process ready for the `open_terminal` that will come soon."""
        self._terminals.stand_by()

    async def open_terminal(self, machine: str, root_fd: int, uid_shift: int) -> int:
        """Give the master of a new terminal in the devpts of the container with this root. Raises OSError."""
        request: Request = {"verb": "open-terminal", "uid_shift": uid_shift}
        fds = await self._terminals.call(machine, request, [root_fd])
        if not fds:
            raise ConnectionError("isod-helper sent no descriptor")
        return fds[0]

    async def watch_devices(self) -> socket.socket:
        """Give a socket on which the host's udevd tells of devices; the helper is in its network namespace.

        Raises OSError.
        """
        fds = await self._call(DEVICES_HELPER_SOCKET, {"verb": "watch-devices"}, [])
        if not fds:
            raise ConnectionError("isod-helper sent no descriptor")
        return socket.socket(fileno=fds[0])

    def stand_by(self, needed: bool) -> None:
        """Have a helper wait for make_node(), or let it end."""
        self._nodes.stand_by(needed)

    async def make_node(self, machine: str, directory: str, name: str, node_fd: int) -> None:
        """Make a copy of the host's node (O_PATH) in a directory of the container's tmpfs. Raises OSError."""
        request: Request = {"verb": "make-node", "machine": machine, "directory": directory, "name": name}
        await self._nodes.call(request, [node_fd])

    async def attach_node(self, machine: str, pidfd: int, uid_shift: int, name: str, place: str) -> None:
        """Show node/NAME of the container's tmpfs at a place below dev inside. Raises OSError."""
        request: Request = {
            "verb": "attach-node",
            "machine": machine,
            "uid_shift": uid_shift,
            "name": name,
            "place": place,
        }
        self._mounts.close()  # see `_mount`
        await self._mount(request, [pidfd])

    async def detach_node(self, pidfd: int, uid_shift: int, place: str) -> None:
        """Take that away again. Raises OSError."""
        await self._mount({"verb": "detach-node", "uid_shift": uid_shift, "place": place}, [pidfd])

    async def attach_directory(self, machine: str, pidfd: int, uid_shift: int, directory: str = "run") -> None:
        """Show a directory of the container's tmpfs inside: `run` at /run/isoctl, `dri` at /dev/dri. Raises OSError."""
        request: Request = {
            "verb": "attach-directory",
            "machine": machine,
            "directory": directory,
            "uid_shift": uid_shift,
        }
        self._mounts.close()  # see `_mount`
        await self._mount(request, [pidfd])

    async def attach_socket(self, pidfd: int, uid_shift: int, uid: int, name: str, source: tuple[str, int]) -> None:
        """Put a user's socket, by its name in their runtime directory and an O_PATH fd, at /run/isoctl/UID/NAME inside.

        Raises OSError.
        """
        socket_name, socket_fd = source
        request: Request = {
            "verb": "attach-socket",
            "uid": uid,
            "uid_shift": uid_shift,
            "name": name,
            "socket": socket_name,
        }
        try:
            await self._mount(dict(request), [pidfd, socket_fd])
        except FileNotFoundError:
            # The process that waits sees no directory of X servers that was made after it began.
            self._mounts.close()
            await self._mount(request, [pidfd, socket_fd])

    async def detach_socket(self, pidfd: int, uid: int, name: str) -> None:
        """Unmount what `attach_socket` put there. Raises OSError."""
        await self._mount({"verb": "detach-socket", "uid": uid, "name": name}, [pidfd])

    async def _mount(self, request: Request, fds: list[int]) -> list[int]:
        """Call the helper that goes into containers; the first descriptor is a pidfd of one.

        Its process has the host's mounts as they were when it began. Those below /run/isod/container are private, and
        may have been made anew since: whoever needs them hangs up before, and so has a new one.
        """
        return await self._mounts.call(_container_of(fds[0]), request, fds)

    async def _call(self, path: str, request: Request, fds: list[int]) -> list[int]:
        """Send a request with descriptors and give those of the answer, at most one."""
        with await self._units.connect(path) as connection:
            data, received = await _exchange(connection, request, fds)
        return helper_socket.checked(data, received)


class StandingHelper:
    """A helper that serves many calls, one after another, and may wait for the next with its process already there."""

    def __init__(self, path: str, units: HelperUnits | None = None) -> None:
        """Take the path of its socket, and what connects to it."""
        self._path = path
        self._units = units or HelperUnits()
        self._connection: socket.socket | None = None
        self._needed = False
        self._turn = asyncio.Lock()

    def stand_by(self, needed: bool) -> None:
        """Have it started if it is not there, or let it end as soon as no call is under way."""
        self._needed = needed
        if not needed and not self._turn.locked():
            self._hang_up()
        elif needed and self._connection is None:
            # Then the next call tries that, and tells.
            with contextlib.suppress(OSError):
                self._connection = helper_socket.connect(self._path)

    async def call(self, request: Request, fds: list[int]) -> list[int]:
        """Send a request with descriptors and give those of the answer, at most one. Raises OSError."""
        async with self._turn:
            data, received = await self._try_twice(request, fds)
            if not self._needed:
                self._hang_up()
        return helper_socket.checked(data, received)

    async def _try_twice(self, request: Request, fds: list[int]) -> tuple[bytes, list[int]]:
        if self._connection is not None:
            with contextlib.suppress(ConnectionError):
                data, received = await self._try(self._connection, request, fds)
                if data:
                    return data, received
        # It has ended since it was last asked.
        self._hang_up()
        self._connection = await self._units.connect(self._path)
        return await self._try(self._connection, request, fds)

    async def _try(self, connection: socket.socket, request: Request, fds: list[int]) -> tuple[bytes, list[int]]:
        try:
            return await _exchange(connection, request, fds)
        except BaseException:
            # An answer that is still to come would be taken for that to the next request.
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


async def _exchange(connection: socket.socket, request: Request, fds: list[int]) -> tuple[bytes, list[int]]:
    try:
        async with asyncio.timeout(_TIMEOUT_SEC):
            helper_socket.send(connection, request, fds)
            return await helper_socket.receive(connection)
    except TimeoutError:
        # asyncio's own says nothing, and this one gets into sentences.
        text = f"isod-helper does not answer within {_TIMEOUT_SEC:.0f} s"
        raise TimeoutError(errno.ETIMEDOUT, text) from None


def _container_of(pidfd: int) -> str:
    """Give a text that all calls by the same process share: its pid. Raises OSError."""
    with open(f"/proc/self/fdinfo/{pidfd}") as lines:
        return next((line.strip() for line in lines if line.startswith("Pid:")), "")
