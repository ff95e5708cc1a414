"""Whether the host's firewall forwards what containers with links of their own send: what root alone may read."""

import json
import os
import re
import subprocess
from typing import Any

_TIMEOUT_SEC = 5.0
_LINKS = "/sys/class/net"
_LINK = re.compile(r"ve-.")
_UFW = ("/etc/ufw/ufw.conf", "/etc/default/ufw")


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
    """Name what drops all that is forwarded, unless a rule of it takes links of containers; "" for nothing."""
    rules = _said("iptables", "-S")
    if re.search(r"^-P FORWARD DROP$", rules, re.MULTILINE) and not re.search(
        r"^-A .*-i ve-\S* .*-j ACCEPT", rules, re.MULTILINE
    ):
        return "iptables (-P FORWARD DROP)"
    try:
        listed: list[dict[str, Any]] = json.loads(_said("nft", "-j", "list", "chains") or "{}").get("nftables", [])
    except ValueError:
        return ""
    chains = [item["chain"] for item in listed if "chain" in item]
    closed = [chain for chain in chains if chain.get("hook") == "forward" and chain.get("policy") == "drop"]
    # What iptables made is seen here too, with its rules as iptables writes them.
    if not closed or rules or re.search(r'iifname "?ve-.*accept', _said("nft", "list", "ruleset")):
        return ""
    return f"nft (chain {closed[0].get('family')} {closed[0].get('table')} {closed[0].get('name')}, policy drop)"


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
