"""The protocol of isod-helper: one JSON object with descriptors in, one out, over a SOCK_SEQPACKET socket.

By what its verbs do to the process and whom they may wait for it serves one call; or call after call, until the caller
hangs up; or each call in a child of its own, where a container decides how long that takes. Then the last descriptor of
a call is a socket for its answer, so that no call waits for another.

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
from typing import NoReturn

from isod_helper.attach import attach_directory, attach_socket, detach_socket, open_root
from isod_helper.attach_node import attach_node, detach_node
from isod_helper.connect_bus import connect_bus
from isod_helper.devices import watch_devices
from isod_helper.nodes import make_node
from isod_helper.terminal import open_terminal

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
        "open-root": open_root,
        "attach-directory": attach_directory,
        "attach-socket": attach_socket,
        "detach-socket": detach_socket,
        "attach-node": attach_node,
        "detach-node": detach_node,
    },
    "terminal": {"open-terminal": open_terminal},
    "node": {"make-node": make_node},
    "devices": {"watch-devices": watch_devices},
}

# The sets whose verbs leave the process as it was.
LASTING = frozenset({"node"})
# The sets whose verbs go into a container's file system, which may never answer.
APART = frozenset({"mount", "terminal"})


def serve_all(connection: socket.socket, verbs: Mapping[str, Verb]) -> bool:
    """Serve calls until the caller hangs up, each within the deadline; tells whether all were done."""
    done = True
    with contextlib.suppress(ConnectionError):
        while connection.recv(1, socket.MSG_PEEK):
            signal.alarm(DEADLINE_SEC)
            done &= serve(connection, verbs)
            signal.alarm(0)
    return done


def serve_apart(connection: socket.socket, verbs: Mapping[str, Verb]) -> bool:
    """Serve each call in a child within the deadline, until the caller hangs up; tells whether that was root.

    A child that can't be ended, since the kernel waits for a container's FUSE server, keeps nobody else waiting.
    """
    if not _is_root(connection):
        return False
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children: the kernel buries them
    with contextlib.suppress(ConnectionError):
        while True:
            data, fds, flags, _ = socket.recv_fds(connection, REQUEST_BYTES_MAX, _FDS_MAX, socket.MSG_CMSG_CLOEXEC)
            if not data:
                break
            _serve_in_child(connection, (data, fds, flags), verbs)
    return True


def _serve_in_child(connection: socket.socket, call: tuple[bytes, list[int], int], verbs: Mapping[str, Verb]) -> None:
    data, fds, flags = call
    try:
        # Too many children are left: the socket for the answer is closed, so the caller learns that there is none.
        with contextlib.suppress(BlockingIOError):
            if os.fork() == 0:
                connection.close()
                _child(data, fds, flags, verbs)
    finally:
        for fd in fds:
            os.close(fd)


def _child(data: bytes, fds: list[int], flags: int, verbs: Mapping[str, Verb]) -> NoReturn:
    """Do one call and end; the signal that ends it at the deadline has its default effect."""
    done = False
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(DEADLINE_SEC)
        with socket.socket(fileno=os.dup(fds[-1])) as answers:
            done = _serve(answers, (data, fds[:-1], flags), verbs)
    except (OSError, IndexError):
        pass  # no socket for an answer: not a call of isod's
    finally:
        os._exit(0 if done else 1)


def serve(connection: socket.socket, verbs: Mapping[str, Verb]) -> bool:
    """Read one call, do it, answer; tells whether it was done. A caller that is not root gets no answer."""
    if not _is_root(connection):
        return False
    data, fds, flags, _ = socket.recv_fds(connection, REQUEST_BYTES_MAX, _FDS_MAX, socket.MSG_CMSG_CLOEXEC)
    try:
        return _serve(connection, (data, fds, flags), verbs)
    finally:
        for fd in fds:
            os.close(fd)


def _is_root(connection: socket.socket) -> bool:
    _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return bool(uid == 0)


def _serve(connection: socket.socket, call: tuple[bytes, list[int], int], verbs: Mapping[str, Verb]) -> bool:
    data, fds, flags = call
    try:
        result = _perform(data, fds, flags, verbs)
    except ValueError as error:
        _refuse(connection, str(error), 0)
        return False
    except OSError as error:
        _refuse(connection, error.strerror or "failed", error.errno or 0)
        return False
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
