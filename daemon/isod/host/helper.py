"""The client side of isod-helper: acts that need rights which isod does not have."""

import asyncio
import json
import os
import socket

from isod_contract.names import HELPER_SOCKET

_TIMEOUT_SEC = 7.0  # the helper gives itself 5, and systemd has to start it
_REPLY_BYTES_MAX = 4096


class Helper:
    """Calls isod-helper, which systemd starts for each connection."""

    def __init__(self, path: str = HELPER_SOCKET) -> None:
        """Take the path of its socket."""
        self._path = path

    async def connect_bus(self, socket_path_fd: int, uid: int) -> socket.socket:
        """Connect to a container's bus as its root.

        `socket_path_fd` is an O_PATH fd of the bus's socket, `uid` the host's uid of the container's root. Gives a
        connected, non-blocking socket. Raises OSError: that of the connection, TimeoutError, ConnectionError if the
        helper gave no proper answer.
        """
        fd = await self._call({"verb": "connect-bus", "uid": uid}, socket_path_fd)
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        return sock

    async def _call(self, request: dict[str, object], fd: int) -> int:
        """Send a request with a descriptor and give the descriptor of the answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as connection:
            async with asyncio.timeout(_TIMEOUT_SEC):
                # EAGAIN, a full backlog, is an error like others: the caller tries again anyway.
                connection.connect(self._path)
                socket.send_fds(connection, [json.dumps(request).encode()], [fd])
                await _readable(connection)
            data, fds, _, _ = socket.recv_fds(connection, _REPLY_BYTES_MAX, 1, socket.MSG_CMSG_CLOEXEC)
        try:
            _check(data)
            if not fds:
                raise ConnectionError("isod-helper sent no descriptor")
        except BaseException:
            for received in fds:
                os.close(received)
            raise
        return fds[0]


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(connection, _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_reader(connection)


def _check(data: bytes) -> None:
    """Raise what an answer says went wrong."""
    if not data:
        raise ConnectionError("isod-helper gave no answer")
    try:
        answer = json.loads(data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ConnectionError("isod-helper gave no proper answer")
    if answer.get("ok") is not True:
        code = answer.get("errno")
        raise OSError(code if isinstance(code, int) else 0, f"isod-helper: {answer.get('error')}")


def _resolve(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
