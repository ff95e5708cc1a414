"""Whether the host's firewall forwards what containers with links of their own send: what root alone may read."""

import ipaddress
import json
import os
import re
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

_TIMEOUT_SEC = 5.0
_LINKS = "/sys/class/net"
_LINK = re.compile(r"ve-.")
_ROUTES = "/proc/net/route"
_IPTABLES = (("ip", "filter"), ("ip6", "filter"))
_UFW = ("/etc/ufw/ufw.conf", "/etc/default/ufw")

_Network = ipaddress.IPv4Network


def has_links() -> bool:
    """Tell whether a container runs with a link of its own to this host."""
    try:
        return any(_LINK.match(name) for name in os.listdir(_LINKS))
    except OSError:
        return False


def is_likely_closed() -> bool:
    """Tell whether something is here that is known to forward nothing of others: docker, ufw. Anybody may see that."""
    if os.path.exists(f"{_LINKS}/docker0"):
        return True
    texts = [_text_of(path) for path in _UFW]
    return "ENABLED=yes" in texts[0] and 'DEFAULT_FORWARD_POLICY="DROP"' in texts[1]


def closed_by() -> str:
    """Name what drops all that is forwarded, unless a rule of it takes what containers send; "" for nothing."""
    rules, networks = _said("iptables", "-S"), _networks()
    if re.search(r"^-P FORWARD DROP$", rules, re.MULTILINE) and not any(
        _takes(rule, networks) for rule in rules.splitlines()
    ):
        return "iptables (-P FORWARD DROP)"
    try:
        listed: list[dict[str, Any]] = json.loads(_said("nft", "-j", "list", "chains") or "{}").get("nftables", [])
    except ValueError:
        return ""
    # A packet goes through all of them, and one that drops it is enough.
    for chain in (item["chain"] for item in listed if "chain" in item):
        table = (str(chain.get("family")), str(chain.get("table")))
        # What iptables made is seen here too, and was looked at.
        is_iptables = rules and table in _IPTABLES and chain.get("name") == "FORWARD"
        if chain.get("hook") != "forward" or chain.get("policy") != "drop" or is_iptables:
            continue
        if not any(_lets_through(rule, networks) for rule in _forwarding_rules(_said("nft", "list", "table", *table))):
            return f"nft (chain {' '.join(table)} {chain.get('name')}, policy drop)"
    return ""


def _networks() -> list[_Network]:
    """Give what the host reaches by links of containers (proc(5), net/route)."""
    found = []
    for row in _text_of(_ROUTES).splitlines()[1:]:
        fields = row.split()
        if len(fields) > 7 and _LINK.match(fields[0]):
            address, mask = (socket.inet_ntoa(struct.pack("=I", int(fields[at], 16))) for at in (1, 7))
            found.append(ipaddress.IPv4Network(f"{address}/{mask}", strict=False))
    return found


def _takes(rule: str, networks: Sequence[_Network]) -> bool:
    """Tell whether a rule of iptables lets through what containers send, by their link or their address."""
    if not re.match(r"-A (?!INPUT |OUTPUT )", rule) or not rule.endswith("-j ACCEPT"):
        return False
    source = re.search(r"(?<!! )-s (\S+)", rule)
    return bool(re.search(r"(?<!! )-i ve-", rule)) or (source is not None and _has_one(source[1], networks))


def _lets_through(rule: str, networks: Sequence[_Network]) -> bool:
    """Tell the same of a rule of nft."""
    if not re.search(r"\baccept\b", rule):
        return False
    source = re.search(r"\bsaddr (\{[^}]*\}|[^\s!]\S*)", rule)
    words = re.findall(r"[0-9./]+", source[1]) if source else []
    return bool(re.search(r'iifname [^!]*"?ve-', rule)) or any(_has_one(word, networks) for word in words)


def _has_one(source: str, networks: Sequence[_Network]) -> bool:
    """Tell whether an address, or a network, has a container in it."""
    try:
        own = ipaddress.ip_network(source, strict=False)
    except ValueError:
        return False
    return any(own.overlaps(network) for network in networks)


def _forwarding_rules(table: str) -> Iterator[str]:
    """Give the rules of a table, as nft(8) lists it, but for those of what comes to or from the host itself."""
    hook = ""
    for line in table.splitlines():
        if re.match(r"\s*chain ", line):
            hook = ""
        elif found := re.search(r"\bhook (\w+)", line):
            hook = found[1]
        elif hook in ("", "forward"):
            yield line


def _said(*argv: str) -> str:
    """Give what a program prints; "" where it is not there, fails or takes too long."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_SEC, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def _text_of(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read(65536)
    except OSError:
        return ""
