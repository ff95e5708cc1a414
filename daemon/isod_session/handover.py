"""What isod-session gives to a sandboxed program, in one datagram on its standard input, and what that reports there.

The descriptors go this way since the standard streams are the only ones that every systemd passes to a transient unit.
isod-session may end before the program does: what is reported then is lost, and nothing else.
"""

import array
import json
import os
import socket
from collections.abc import Mapping
from typing import NamedTuple

_MESSAGE_BYTES_MAX = 4096
_FDS = ("listen", "wayland", "clipboard")

READY = "ready"
IDLE = "idle"
FAILED = "failed: "  # followed by a sentence
UNCONFINED = "unconfined: "  # followed by what is missing; nothing of a client's was read


class Handover(NamedTuple):
    """What an X server's unit is given; the descriptors are the receiver's."""

    container: str
    host: Mapping[str, str]  # isod_session.confinement.identity_of_host
    has_gpu: bool
    path: str  # where programs are looked for
    listen: int  # X clients of the container connect there
    wayland: int  # a connection to the compositor
    clipboard: int  # `isoctl clipboard` connects there


def send(peer: socket.socket, handover: Handover) -> None:
    """Write it; the descriptors stay the caller's. Raises OSError."""
    facts = {name: value for name, value in handover._asdict().items() if name not in _FDS}
    fds = array.array("i", [getattr(handover, name) for name in _FDS])
    peer.sendmsg([json.dumps(facts).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])


def receive(peer: socket.socket) -> Handover:
    """Read it. Raises OSError, ValueError for what is none."""
    # Not recv_fds(), which passes no flags on.
    fds = array.array("i")
    space = socket.CMSG_LEN(len(_FDS) * fds.itemsize)
    data, ancillary, flags, _ = peer.recvmsg(_MESSAGE_BYTES_MAX, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC) or len(fds) != len(_FDS):
        for fd in fds:
            os.close(fd)
        raise ValueError("standard input gives not what isod-session gives")
    facts = json.loads(data)
    return Handover(
        container=facts["container"],
        host=facts["host"],
        has_gpu=facts["has_gpu"],
        path=facts["path"],
        listen=fds[0],
        wayland=fds[1],
        clipboard=fds[2],
    )


def report(peer: socket.socket, text: str) -> None:
    """Tell isod-session; it may have ended."""
    try:
        peer.send(text.encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return
