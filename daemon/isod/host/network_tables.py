"""The kernel's tables of a network, as texts of /proc/PID/net (proc_pid_net(5)): who has an address, what leads out."""

import ipaddress
import re
from collections.abc import Iterator

# The kernel puts these into every network namespace, and nobody uses them.
_FALLBACK = re.compile(r"lo|sit0|tunl0|ip6tnl0|gre0|gretap0|erspan0|ip6gre0|ip_vti0|ip6_vti0|dummy\d+|teql\d+")
_LINK_LOCAL = "0000FEA9"  # 169.254.0.0 as /proc/net/route writes it on little-endian machines
_LINK_LOCAL_SCOPE = "20"  # of /proc/net/if_inet6
_UP, _REJECT = 0x1, 0x200  # flags of a route (route(8))
_DNS_PORT = "0035"


def interfaces(devices: str) -> list[str]:
    """Give the interfaces that somebody made: /proc/net/dev."""
    names = [line.partition(":")[0].strip() for line in devices.splitlines()[2:]]
    return [name for name in names if not _FALLBACK.fullmatch(name)]


def addressed(routes: str, addresses6: str) -> set[str]:
    """Give the interfaces with an address of more than the link: /proc/net/route and if_inet6.

    An address brings a route to its network, or by hand one to a peer.
    """
    found = {
        fields[0]
        for fields in map(str.split, routes.splitlines()[1:])
        if len(fields) > 1 and fields[1].upper() != _LINK_LOCAL
    }
    return found | {
        fields[5]
        for fields in map(str.split, addresses6.splitlines())
        if len(fields) == 6 and fields[3] != _LINK_LOCAL_SCOPE
    }


def unaddressed(devices: str, routes: str, addresses6: str) -> tuple[str, ...]:
    """Give the interfaces if none of them has an address."""
    own = interfaces(devices)
    return () if addressed(routes, addresses6) & set(own) else tuple(own)


def leads_out(routes: str, routes6: str) -> bool:
    """Tell whether there is a default route: /proc/net/route, ipv6_route."""
    return any(not mask and not target for target, mask, _ in _routes(routes)) or any(
        not fields[0].strip("0") and fields[1] == "00" and fields[9] != "lo" and _is_usable(fields[8])
        for fields in map(str.split, routes6.splitlines())
        if len(fields) == 10
    )


def gateways(routes: str) -> list[int]:
    """Give the routers of default routes, in the kernel's order of bytes: /proc/net/route."""
    return [gateway for target, mask, gateway in _routes(routes) if not mask and not target and gateway]


def covers(routes: str, address: int) -> bool:
    """Tell whether a route of its own leads to an address, other than the default one."""
    return any(mask and address & mask == target for target, mask, _ in _routes(routes))


def _routes(routes: str) -> Iterator[tuple[int, int, int]]:
    """Give destination, mask and gateway of each route in use."""
    for fields in map(str.split, routes.splitlines()[1:]):
        try:
            target, gateway, mask = (int(fields[column], 16) for column in (1, 2, 7))
        except (IndexError, ValueError):
            continue
        if _is_usable(fields[3]):
            yield target, mask, gateway


def _is_usable(flags: str) -> bool:
    try:
        number = int(flags, 16)
    except ValueError:
        return False
    return bool(number & _UP) and not number & _REJECT


def unheard(servers: tuple[str, ...], sockets: str, sockets6: str) -> tuple[str, ...]:
    """Give those name servers that are the machine itself and at which nobody listens: /proc/net/udp, udp6.

    Tables are those of little-endian machines.
    """
    heard = {
        fields[1].partition(":")[0]
        for fields in map(str.split, (sockets + "\n" + sockets6).splitlines())
        if len(fields) > 2 and fields[1].endswith(":" + _DNS_PORT)
    }
    if heard & {"0" * 8, "0" * 32}:
        return ()
    silent = []
    for server in servers:
        try:
            address = ipaddress.ip_address(server.partition("%")[0])
        except ValueError:
            continue
        packed = address.packed
        words = (packed[start : start + 4][::-1].hex().upper() for start in range(0, len(packed), 4))
        if address.is_loopback and "".join(words) not in heard:
            silent.append(server)
    return tuple(silent)
