"""What checks read in running containers: files by descriptor from the root, the network by a process in there."""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from isod.host import rootfs
from isod.host.accounts import groups_of
from isod.ports import Account, Inside
from isod_contract.errors import IsodError

_PROC_BYTES_MAX = 256 * 1024
# The kernel puts these into every network namespace, and nobody uses them.
_FALLBACK = re.compile(r"lo|sit0|tunl0|ip6tnl0|gre0|gretap0|erspan0|ip6gre0|ip_vti0|ip6_vti0|dummy\d+|teql\d+")
_LINK_LOCAL = "0000FEA9"  # 169.254.0.0 as /proc/net/route writes it on little-endian machines
_LINK_LOCAL_SCOPE = "20"  # of /proc/net/if_inet6


class Survey:
    """Adapter of `Surveyor`."""

    def look(self, guest: Any, account: Account | None, wanted: Mapping[str, tuple[str, ...]]) -> Inside:
        """Look once; what can't be read counts as absent, or as nothing wrong."""
        space = os.fstatvfs(guest.root_fd)
        return Inside(
            present=frozenset(
                name for name, paths in wanted.items() if any(rootfs.is_there(guest.root_fd, path) for path in paths)
            ),
            groups=_groups(guest, account) if account else (),
            free_bytes=space.f_bavail * space.f_frsize,
            total_bytes=space.f_blocks * space.f_frsize,
            free_inodes=space.f_favail,
            total_inodes=space.f_files,
            without_address=_without_address(guest.pidfd),
        )


def _groups(guest: Any, account: Account) -> tuple[str, ...]:
    try:
        return groups_of(rootfs.read_table(guest.root_fd, "etc/group", guest.machine), account.name)
    except IsodError:
        return ()


def _without_address(pidfd: int) -> tuple[str, ...]:
    pid = pid_of(pidfd)
    if pid <= 0 or network_of(pid) in (None, network_of(1)):
        return ()
    try:
        tables = [_read_proc(pid, name) for name in ("dev", "route", "if_inet6")]
    except OSError:
        return ()
    if pid_of(pidfd) != pid:  # it has ended, and the number may be another's
        return ()
    return unaddressed(*tables)


def unaddressed(devices: str, routes: str, addresses6: str) -> tuple[str, ...]:
    """Give the interfaces if none of them has an address: texts of /proc/net/dev, route, if_inet6 (proc_pid_net(5)).

    An address brings a route to its network, or by hand one to a peer.
    """
    names = [line.partition(":")[0].strip() for line in devices.splitlines()[2:]]
    own = [name for name in names if not _FALLBACK.fullmatch(name)]
    with_address = {
        fields[0]
        for fields in map(str.split, routes.splitlines()[1:])
        if len(fields) > 1 and fields[1].upper() != _LINK_LOCAL
    }
    with_address |= {
        fields[5]
        for fields in map(str.split, addresses6.splitlines())
        if len(fields) == 6 and fields[3] != _LINK_LOCAL_SCOPE
    }
    return () if with_address & set(own) else tuple(own)


def pid_of(pidfd: int) -> int:
    """Give the pid behind a pidfd, -1 once it has ended (pidfd_open(2), fdinfo)."""
    try:
        with open(f"/proc/self/fdinfo/{pidfd}") as file:
            lines = dict(line.partition(":")[::2] for line in file)
    except OSError:
        return -1
    return int(lines.get("Pid", "-1"))


def network_of(pid: int) -> tuple[int, int] | None:
    """Tell networks of processes apart: /proc/PID/ns takes ptrace rights, but each network has its own files."""
    try:
        status = os.stat(f"/proc/{pid}/net/dev")
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _read_proc(pid: int, name: str) -> str:
    try:
        with open(f"/proc/{pid}/net/{name}", "rb") as file:
            return file.read(_PROC_BYTES_MAX).decode(errors="replace")
    except FileNotFoundError:  # a kernel without IPv6
        return ""


def command_of(pid: int) -> tuple[str, ...]:
    """Give the argument vector of a process of the host, () if there is none."""
    if not pid:
        return ()
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            raw = file.read(_PROC_BYTES_MAX)
    except OSError:
        return ()
    return tuple(word.decode(errors="replace") for word in _words(raw))


def _words(raw: bytes) -> Iterable[bytes]:
    return raw.removesuffix(b"\0").split(b"\0") if raw else ()
