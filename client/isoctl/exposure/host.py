"""Whose the sockets are that a container reaches: what the host, where isoctl runs, can tell of them."""

import os
import socket
import struct
from typing import NamedTuple

_UNIX = "/proc/net/unix"
_TABLE_BYTES_MAX = 8 << 20


class Owner(NamedTuple):
    """The unit of a process on the host, and whether it runs a container; the unit is "" where nothing can be told."""

    unit: str = ""
    is_container: bool = False


class Owners:
    """Tells whose process listens on an abstract socket, for those of the network that isoctl itself is in."""

    def __init__(self) -> None:
        """Read the table of sockets (proc_net_unix(5))."""
        self.network = _link("/proc/self/ns/net")
        try:
            with open(_UNIX, "rb") as file:
                rows = [line.split(None, 7) for line in file.read(_TABLE_BYTES_MAX).split(b"\n")]
        except OSError:
            rows = []
        self._here = {row[6].decode(): row[7] for row in rows if len(row) == 8}

    def of(self, inode: str, *, seqpacket: bool = False) -> Owner:
        """Connect to a socket that is in the table here too, and look where its listener runs."""
        name = self._here.get(inode, b"")
        if not name.startswith(b"@"):
            return Owner()
        kind = socket.SOCK_SEQPACKET if seqpacket else socket.SOCK_STREAM
        with socket.socket(socket.AF_UNIX, kind) as peer:
            peer.settimeout(1)
            try:
                peer.connect(b"\0" + name[1:])
                pid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            except OSError:
                return Owner()
        return _owner_of(pid)


def _owner_of(pid: int) -> Owner:
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            lines = file.read(65536).splitlines()
    except OSError:
        return Owner()
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "")
    # The outermost is the host's; what is below it, a container names as it likes.
    unit = next((part for part in path.split("/") if part.endswith((".service", ".scope"))), "")
    return Owner(unit, path.startswith("/machine.slice/"))


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
