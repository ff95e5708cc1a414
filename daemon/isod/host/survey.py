"""What checks read in running containers: files by descriptor from the root, the network by a process in there."""

import os
from collections.abc import Mapping
from typing import Any

from isod.host import rootfs
from isod.host.accounts import groups_of
from isod.host.inside_places import PlacesOf, space_of
from isod.host.mount_table import read_mounts
from isod.host.network_tables import addressed, covers, gateways, interfaces, leads_out, unaddressed
from isod.host.processes import network_of, pid_of
from isod.ports import Account
from isod.survey_ports import Inside, Network, Places
from isod_contract.errors import IsodError

_PROC_BYTES_MAX = 256 * 1024
_RESOLV_CONF = "/etc/resolv.conf"
# nspawn shortens the name of a link that would be longer than an interface's may be.
_LINK_NAME_MAX = 15
_TABLES = ("dev", "route", "if_inet6", "ipv6_route")


class Survey:
    """Adapter of `Surveyor`."""

    def look(self, guest: Any, account: Account | None, wanted: Mapping[str, tuple[str, ...]]) -> Inside:
        """Look once; what can't be read counts as absent, or as nothing wrong."""
        return Inside(
            present=frozenset(
                name for name, paths in wanted.items() if any(rootfs.is_there(guest.root_fd, path) for path in paths)
            ),
            groups=_groups(guest, account) if account else (),
            space=space_of(guest.root_fd),
            root_owner=os.fstat(guest.root_fd).st_uid,
            network=_network_facts(guest.pidfd, guest.machine),
        )

    def look_at_places(self, guest: Any, account: Account | None) -> Places:
        """Look at files that may lie on any file system: not at those for which the kernel alone can't answer."""
        pid = pid_of(guest.pidfd)
        try:
            mounts = read_mounts(pid)
            sockets = _read_proc(pid, "udp"), _read_proc(pid, "udp6")
        except OSError as error:
            return Places(unseen=(f"its mounts ({error.strerror or error})",))
        is_hosts = network_of(pid) == network_of(1)
        if pid_of(guest.pidfd) != pid:  # it has ended, and the number may be another's
            return Places()
        return PlacesOf(guest, mounts).look(account, sockets, _RESOLV_CONF if is_hosts else "")


def _groups(guest: Any, account: Account) -> tuple[str, ...]:
    try:
        return groups_of(rootfs.read_table(guest.root_fd, "etc/group", guest.machine), account.name)
    except IsodError:
        return ()


def _network_facts(pidfd: int, machine: str) -> Network:
    pid = pid_of(pidfd)
    own, hosts = network_of(pid) if pid > 0 else None, network_of(1)
    if own is None:
        return Network()
    try:
        devices, routes, addresses6, routes6 = (_read_proc(pid, name) for name in _TABLES)
    except OSError:
        return Network()
    if pid_of(pidfd) != pid:  # it has ended, and the number may be another's
        return Network()
    is_own = own != hosts
    has_address = bool(addressed(routes, addresses6) & set(interfaces(devices)))
    return Network(
        is_own=is_own,
        without_address=unaddressed(devices, routes, addresses6) if is_own else (),
        has_address=has_address,
        has_route_out=leads_out(routes, routes6),
        unaddressed_peer=_unaddressed_peer(machine, routes) if is_own and has_address else "",
    )


def _unaddressed_peer(machine: str, routes: str) -> str:
    """Name the host's end of a link of --network-veth (systemd-nspawn(1)) that has no address; "" for nothing.

    One that is a bridge's has none either: then the bridge's network is that of the container's gateway.
    """
    name = f"ve-{machine}"
    if len(name) > _LINK_NAME_MAX:
        return ""
    try:
        devices, hosts_routes, addresses6 = (_read_proc(1, table) for table in _TABLES[:3])
    except OSError:
        return ""
    is_bare = name in interfaces(devices) and name not in addressed(hosts_routes, addresses6)
    return name if is_bare and any(not covers(hosts_routes, gateway) for gateway in gateways(routes)) else ""


def _read_proc(pid: int, name: str) -> str:
    try:
        with open(f"/proc/{pid}/net/{name}", "rb") as file:
            return file.read(_PROC_BYTES_MAX).decode(errors="replace")
    except FileNotFoundError:  # a kernel without IPv6
        return ""
