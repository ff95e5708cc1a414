"""A helper that serves calls side by side, each in a child of its own: a call into a container may never end."""

import asyncio
import contextlib
import errno
import os
import socket

from isod.host import helper_socket
from isod.host.helper_units import HelperUnits

_START_SEC = 20.0  # a busy systemd has to start it first
_CALL_SEC = 8.0  # its children give themselves 5
_KEPT_SEC = 60.0  # without a call; then its process ends
_AT_ONCE = 2  # in one container; the unit has room for so many of thirty


class ParallelHelper:
    """The standing process of one socket of isod-helper whose calls do not wait for each other.

    A call that the helper can't end, since the kernel waits for a file system of the container's, keeps its place: from
    then on calls into that container fail by time, and take no more of the helper's processes.
    """

    def __init__(self, path: str, units: HelperUnits | None = None) -> None:
        """Take the path of its socket, and what connects to it."""
        self._path = path
        self._units = units or HelperUnits()
        self._connection: socket.socket | None = None
        self._has_answered = False
        self._places: dict[str, asyncio.Semaphore] = {}
        self._calls: set[asyncio.Task[list[int]]] = set()
        self._idle: asyncio.TimerHandle | None = None

    def stand_by(self) -> None:
        """Have it started now, since a call will come soon; where that is not possible the call tells."""
        if self._connection is None:
            with contextlib.suppress(OSError):
                self._connection = helper_socket.connect(self._path)
        self._keep()

    def close(self) -> None:
        """Let its process end; calls that are under way go on."""
        if self._idle is not None:
            self._idle.cancel()
        self._hang_up()

    async def call(self, container: str, request: dict[str, object], fds: list[int]) -> list[int]:
        """Send a request with descriptors, and give those of the answer, at most one.

        `container` is any text that is one container's. Raises OSError; TimeoutError where it does not answer in time.
        """
        place = self._places.setdefault(container, asyncio.Semaphore(_AT_ONCE))
        limit_sec = _CALL_SEC if self._has_answered else _START_SEC
        # Copies: whoever gives them may close their own when they stop waiting.
        own_fds = [os.dup(fd) for fd in fds]
        try:
            async with asyncio.timeout(limit_sec):
                await place.acquire()
        except TimeoutError:
            _close(own_fds)
            reason = f"earlier calls of isod-helper into it have not ended after {limit_sec:.0f} s"
            raise TimeoutError(errno.ETIMEDOUT, reason) from None
        except BaseException:
            _close(own_fds)
            raise
        task = asyncio.get_running_loop().create_task(self._call(place, request, own_fds))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        try:
            async with asyncio.timeout(limit_sec):
                return await asyncio.shield(task)
        except TimeoutError:
            task.add_done_callback(_close_unwanted)
            raise TimeoutError(errno.ETIMEDOUT, f"isod-helper does not answer within {limit_sec:.0f} s") from None
        except asyncio.CancelledError:
            task.add_done_callback(_close_unwanted)
            raise

    async def _call(self, place: asyncio.Semaphore, request: dict[str, object], own_fds: list[int]) -> list[int]:
        try:
            data, received = await self._exchange(request, own_fds)
            if not data and not self._is_there():
                # It ended after it was asked last, by itself or in an upgrade; nothing came of this call.
                data, received = await self._exchange(request, own_fds)
        finally:
            _close(own_fds)
            place.release()
            self._keep()
        self._has_answered = self._has_answered or bool(data)
        return helper_socket.checked(data, received)

    async def _exchange(self, request: dict[str, object], fds: list[int]) -> tuple[bytes, list[int]]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        with ours:
            with theirs:
                theirs.setblocking(True)
                await self._send(request, [*fds, theirs.fileno()])
            return await helper_socket.receive(ours)

    async def _send(self, request: dict[str, object], fds: list[int]) -> None:
        if self._connection is not None and self._is_there():
            with contextlib.suppress(ConnectionError):  # it has ended just now
                helper_socket.send(self._connection, request, fds)
                return
        connection = await self._units.connect(self._path)
        self._hang_up()  # what another call may have opened meanwhile
        self._connection = connection
        helper_socket.send(connection, request, fds)

    def _is_there(self) -> bool:
        """Tell whether the process at the other end lives; it sends nothing, so anything to read is its end."""
        if self._connection is None:
            return False
        try:
            self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        self._hang_up()
        return False

    def _keep(self) -> None:
        """Let it end when it has not been asked for a while."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(_KEPT_SEC, self._hang_up)

    def _hang_up(self) -> None:
        self._has_answered = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _close_unwanted(task: "asyncio.Task[list[int]]") -> None:
    """Close what a call gives that nobody waits for any more."""
    if not task.cancelled() and task.exception() is None:
        _close(task.result())
