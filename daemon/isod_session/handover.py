"""What isod-session gives to a sandboxed program, in one datagram on its standard input, and what that reports there.

The descriptors go this way since the standard streams are the only ones that every systemd passes to a transient unit.
isod-session may end before the program does: what is reported then is lost, and nothing else.
"""

import array
import json
import os
import socket
from collections.abc import Mapping

_MESSAGE_BYTES_MAX = 16384
_FDS = 3

READY = "ready"
IDLE = "idle"
FAILED = "failed: "  # followed by a sentence
UNCONFINED = "unconfined: "  # followed by what is missing; nothing of a client's was read


class Handover:
    """What an X server's unit is given; the descriptors are the receiver's."""

    def __init__(
        self,
        *,
        container: str,
        host: Mapping[str, str],
        has_gpu: bool,
        path: str,
        fds: tuple[int, int, int],
    ) -> None:
        """Take the facts, and the descriptors in the order of the attributes."""
        self.container = container
        self.host = host  # isod_session.confinement.identity_of_host
        self.has_gpu = has_gpu
        self.path = path  # where programs are looked for
        # X clients of the container connect to the first, `isoctl clipboard` to the last; a connection to the
        # compositor is between them.
        self.listen, self.wayland, self.clipboard = fds


def send(peer: socket.socket, given: Handover) -> None:
    """Write it; the descriptors stay the caller's. Raises OSError."""
    facts = {"container": given.container, "host": given.host, "has_gpu": given.has_gpu, "path": given.path}
    fds = array.array("i", (given.listen, given.wayland, given.clipboard))
    peer.sendmsg([json.dumps(facts).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])


def receive(peer: socket.socket) -> Handover:
    """Read it. Raises OSError, ValueError for what is none."""
    # Not recv_fds(), which passes no flags on.
    fds = array.array("i")
    space = socket.CMSG_LEN(_FDS * fds.itemsize)
    data, ancillary, flags, _ = peer.recvmsg(_MESSAGE_BYTES_MAX, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC) or len(fds) != _FDS:
        for fd in fds:
            os.close(fd)
        raise ValueError("standard input gives not what isod-session gives")
    facts = json.loads(data)
    return Handover(
        container=facts["container"],
        host=facts["host"],
        has_gpu=facts["has_gpu"],
        path=facts["path"],
        fds=(fds[0], fds[1], fds[2]),
    )


def report(peer: socket.socket, text: str) -> None:
    """Tell isod-session; it may have ended."""
    try:
        peer.send(text.encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return
