"""One call to isod-helper on the wire: a JSON object with descriptors there, one back (see isod_helper.serve)."""

import asyncio
import json
import os
import socket

_REPLY_BYTES_MAX = 4096


def connect(path: str) -> socket.socket:
    """Raise OSError; EAGAIN, a full backlog, is an error like others: the caller tries again anyway."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def send(connection: socket.socket, request: dict[str, object], fds: list[int]) -> None:
    """Send a request with descriptors. Raises OSError."""
    socket.send_fds(connection, [json.dumps(request).encode()], fds)


async def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Wait for an answer, b"" if none comes any more, and its descriptors, at most one. Raises OSError."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(connection, _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_reader(connection)
    data, received, _, _ = socket.recv_fds(connection, _REPLY_BYTES_MAX, 1, socket.MSG_CMSG_CLOEXEC)
    return data, received


def checked(data: bytes, received: list[int]) -> list[int]:
    """Give an answer's descriptors, or raise what it says went wrong."""
    try:
        _check(data)
    except BaseException:
        for fd in received:
            os.close(fd)
        raise
    return received


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
