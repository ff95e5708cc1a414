"""The protocol of isod-helper: one JSON object with descriptors in, one out, over a SOCK_SEQPACKET socket.

Most verbs change the process for good, so it serves one call. Where they don't, it waits for more until the caller
hangs up: a device that is plugged in should not wait for a process to start.

{"verb": "connect-bus", "uid": 524288} with a descriptor is answered by {"ok": true}, with a descriptor if the verb
gives one, or by {"error": "why", "errno": 111} where errno is 0 if it was no system call that failed.
"""

import contextlib
import json
import os
import signal
import socket
import struct
from collections.abc import Callable, Mapping

from isod_helper.attach import attach_directory, attach_socket, detach_socket
from isod_helper.attach_node import attach_node, detach_node
from isod_helper.connect_bus import connect_bus
from isod_helper.devices import watch_devices
from isod_helper.nodes import make_node

DEADLINE_SEC = 5
REQUEST_BYTES_MAX = 4096
_FDS_MAX = 4
_UCRED = struct.Struct("3i")

Verb = Callable[[dict[str, object], list[int]], int | None]
"""Takes the request and its descriptors, may give a descriptor; raises ValueError or OSError."""

# By the rights that they need: each set is a unit of its own.
VERBS: dict[str, dict[str, Verb]] = {
    "bus": {"connect-bus": connect_bus},
    "mount": {
        "attach-directory": attach_directory,
        "attach-socket": attach_socket,
        "detach-socket": detach_socket,
        "attach-node": attach_node,
        "detach-node": detach_node,
    },
    "node": {"make-node": make_node},
    "devices": {"watch-devices": watch_devices},
}

# The sets whose verbs leave the process as it was.
LASTING = frozenset({"node"})


def serve_all(connection: socket.socket, verbs: Mapping[str, Verb]) -> bool:
    """Serve calls until the caller hangs up, each within the deadline; tells whether all were done."""
    done = True
    with contextlib.suppress(ConnectionError):
        while connection.recv(1, socket.MSG_PEEK):
            signal.alarm(DEADLINE_SEC)
            done &= serve(connection, verbs)
            signal.alarm(0)
    return done


def serve(connection: socket.socket, verbs: Mapping[str, Verb]) -> bool:
    """Read one call, do it, answer; tells whether it was done. A caller that is not root gets no answer."""
    _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if uid != 0:
        return False
    data, fds, flags, _ = socket.recv_fds(connection, REQUEST_BYTES_MAX, _FDS_MAX, socket.MSG_CMSG_CLOEXEC)
    try:
        result = _perform(data, fds, flags, verbs)
    except ValueError as error:
        _refuse(connection, str(error), 0)
        return False
    except OSError as error:
        _refuse(connection, error.strerror or "failed", error.errno or 0)
        return False
    finally:
        for fd in fds:
            os.close(fd)
    results = [] if result is None else [result]
    try:
        return _answer(connection, {"ok": True}, results)
    finally:
        for fd in results:
            os.close(fd)


def _perform(data: bytes, fds: list[int], flags: int, verbs: Mapping[str, Verb]) -> int | None:
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise ValueError("the request is too long")
    try:
        request = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("the request is not JSON") from None
    verb = request.pop("verb", None) if isinstance(request, dict) else None
    act = verbs.get(verb) if isinstance(verb, str) else None
    if act is None:
        raise ValueError("no such verb")
    return act(request, fds)


def _refuse(connection: socket.socket, text: str, code: int) -> None:
    _answer(connection, {"error": text, "errno": code}, [])


def _answer(connection: socket.socket, answer: dict[str, object], fds: list[int]) -> bool:
    """Answer; tells whether anybody was there: an isod that was restarted meanwhile asks anew."""
    try:
        socket.send_fds(connection, [json.dumps(answer).encode()], fds)
    except ConnectionError:
        return False
    return True
