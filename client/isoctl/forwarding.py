"""Whether the host's firewall forwards what containers with links of their own send: what root alone may read."""

import ipaddress
import json
import os
import re
import socket
import struct
import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_TIMEOUT_SEC = 5.0
_LINKS = "/sys/class/net"
_LINK = re.compile(r"ve-.")
_ROUTES = "/proc/net/route"
_IPTABLES = (("ip", "filter"), ("ip6", "filter"))
_UFW = ("/etc/ufw/ufw.conf", "/etc/default/ufw")

_Network = ipaddress.IPv4Network


class _Rule(NamedTuple):
    """What is asked of one rule."""

    accepts: bool
    chains: tuple[str, ...]  # where it leads
    is_theirs: bool  # it names what containers send, by their link or their address
    is_any: bool  # it names nothing, and takes all


_Chains = Mapping[str, Sequence[_Rule]]


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
    is_dropped = re.search(r"^-P FORWARD DROP$", rules, re.MULTILINE)
    if is_dropped and not _lets_through(_iptables_chains(rules, networks), "FORWARD"):
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
        name = str(chain.get("name"))
        if not _lets_through(_nft_chains(_said("nft", "list", "table", *table), networks), name):
            return f"nft (chain {' '.join(table)} {name}, policy drop)"
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


def _lets_through(chains: _Chains, start: str) -> bool:
    """Tell whether what containers send is accepted on the way from a chain on; the order of rules is not looked at."""
    # "": what no chain holds, as maps of verdicts that any rule may use.
    waiting, seen = [(start, True), ("", False)], set()
    while waiting:
        name, takes_all = waiting.pop()
        if (name, takes_all) in seen:
            continue
        seen.add((name, takes_all))
        for rule in chains.get(name, ()):
            # One that takes all takes what is led to its chain, which may be something else than what containers send.
            takes = rule.is_theirs or (rule.is_any and takes_all)
            if rule.accepts and takes:
                return True
            waiting.extend((chain, takes) for chain in rule.chains)
    return False


def _iptables_chains(listed: str, networks: Sequence[_Network]) -> _Chains:
    """Read what `iptables -S` prints."""
    chains = defaultdict(list)
    for line in listed.splitlines():
        plain = re.sub(r'-m comment --comment ("(?:[^"\\]|\\.)*"|\S+) ?', "", line)
        if found := re.match(r"-A (\S+) (.*?) ?(?<!\S)-[jg] (\S+)", plain):
            name, match, target = found.groups()
            source = re.search(r"(?<!! )-s (\S+)", match)
            is_theirs = bool(re.search(r"(?<!! )-i ve-", match)) or bool(source and _has_one(source[1], networks))
            chains[name].append(_Rule(target == "ACCEPT", (target,), is_theirs, is_any=not match))
    return chains


def _nft_chains(listed: str, networks: Sequence[_Network]) -> _Chains:
    """Read a table as nft(8) lists it."""
    chains, name = defaultdict(list), ""
    for line in listed.splitlines():
        if begun := re.match(r"\s*chain (\S+)", line):
            name = begun[1]
        elif re.match(r"\s*(map|set) ", line):
            name = ""
        plain = re.sub(r'\bcomment "[^"]*"|\blog prefix "[^"]*"', "", line)
        plain = re.sub(r"\bcounter( packets \d+ bytes \d+| name \S+)?|\blog\b( level \w+)?", "", plain)
        leads = tuple(re.findall(r"\b(?:jump|goto) ([^\s,}]+)", plain))
        accepts = bool(re.search(r"\baccept\b", plain)) and not re.search(r"\bpolicy accept\b", plain)
        if accepts or leads:
            source = re.search(r"\bsaddr (\{[^}]*\}|[^\s!]\S*)", plain)
            words = re.findall(r"[0-9./]+", source[1]) if source else []
            is_theirs = bool(re.search(r'iifname [^!]*"?ve-', plain)) or any(_has_one(word, networks) for word in words)
            is_any = bool(re.fullmatch(r"\s*(accept|(jump|goto) \S+)\s*", plain))
            chains[name].append(_Rule(accepts, leads, is_theirs, is_any))
    return chains


def _has_one(source: str, networks: Sequence[_Network]) -> bool:
    """Tell whether an address, or a network, has a container in it."""
    try:
        own = ipaddress.ip_network(source, strict=False)
    except ValueError:
        return False
    return any(own.overlaps(network) for network in networks)


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
