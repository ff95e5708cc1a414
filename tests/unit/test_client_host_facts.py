"""What isoctl reads of this host for `isoctl doctor`: its firewall, inotify, where and when isod was installed."""

import ctypes
import json
import os
import time
from pathlib import Path

import pytest

from isoctl import forwarding, inotify_use, installation

DOCKER = """-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N DOCKER
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
"""
LETS_THEM = "-A DOCKER-USER -i ve-+ -j ACCEPT\n"
# As nix/generate.nix makes it.
OUR_NIXOS = """-N isod-forward
-A FORWARD -j isod-forward
-A isod-forward -s 10.233.5.2/32 -j ACCEPT
-A isod-forward -d 10.233.5.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
"""
LETS_OTHERS = """-A INPUT -i ve-+ -j ACCEPT
-A isod-forward -s 10.233.6.2/32 -j ACCEPT
-A isod-forward ! -s 10.233.5.2/32 -j ACCEPT
-A isod-forward ! -i ve-+ -j ACCEPT
-A isod-forward -d 10.233.5.2/32 -j ACCEPT
-A isod-forward -s 10.233.5.2/32 -j DROP
"""
UFW = """-A INPUT -j ufw-user-input
-A ufw-user-input -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j ACCEPT
"""
CLOSED = "iptables (-P FORWARD DROP)"
NFT_CLOSED = "nft (chain inet filter forward, policy drop)"
ROUTES = """Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask
eth0\t0006E90A\t00000000\t0001\t0\t0\t0\t00FFFFFF
ve-blog\t0205E90A\t00000000\t0005\t0\t0\t0\tFFFFFFFF
"""


def table(rules: str) -> str:
    return (
        "table inet filter {\n\tchain other {\n\t\ttype filter hook input priority 0; policy drop;\n"
        '\t\tiifname "ve-*" accept\n\t}\n\tchain forward {\n'
        "\t\ttype filter hook forward priority filter; policy drop;\n\t\tjump more\n\t}\n"
        f"\tchain more {{\n{rules}\t}}\n}}\n"
    )


def chains(policy: str, family: str = "inet", name: str = "forward") -> str:
    chain = {"family": family, "table": "filter", "name": name, "hook": "forward", "policy": policy}
    return json.dumps({"nftables": [{"metainfo": {}}, {"chain": {"name": "other"}}, {"chain": chain}]})


@pytest.mark.parametrize(
    ("iptables", "nft_chains", "ruleset", "closed"),
    [
        (DOCKER, "", "", "iptables (-P FORWARD DROP)"),
        (DOCKER, chains("drop"), "", "iptables (-P FORWARD DROP)"),
        (DOCKER + LETS_THEM, chains("drop", "ip", "FORWARD"), "", ""),
        (DOCKER + OUR_NIXOS, chains("drop", "ip", "FORWARD"), "", ""),
        (DOCKER + LETS_OTHERS, "", "", "iptables (-P FORWARD DROP)"),
        # One table that takes them does not help against another.
        (DOCKER + LETS_THEM, chains("drop"), "", "nft (chain inet filter forward, policy drop)"),
        ("-P FORWARD ACCEPT\n", chains("drop"), table(""), "nft (chain inet filter forward, policy drop)"),
        ("-P FORWARD ACCEPT\n", chains("drop"), table("\t\tip saddr 10.233.5.2 accept\n"), ""),
        ("", chains("drop"), table("\t\tip saddr { 10.1.0.0/16, 10.233.0.0/16 } counter accept\n"), ""),
        ("", chains("drop"), table("\t\tip saddr 10.233.6.2 accept\n"), "nft (chain inet filter forward, policy drop)"),
        ("", chains("drop"), table('\t\tiifname { "ve-blog", "br0" } accept\n'), ""),
        ("-P FORWARD ACCEPT\n", "", "", ""),
        ("", chains("drop"), "", "nft (chain inet filter forward, policy drop)"),
        ("", chains("drop"), '  iifname "ve-*" accept\n', ""),
        ("", chains("accept"), "", ""),
        # What another hook's chains take is not forwarded.
        (DOCKER + UFW, "", "", CLOSED),
        (DOCKER + UFW + "-A ufw-user-input -j ACCEPT\n", "", "", CLOSED),
        (DOCKER + UFW + "-A FORWARD -j ufw-user-input\n", "", "", ""),
        ("", chains("drop"), table("").replace("jump more", "jump less"), NFT_CLOSED),
        ("", chains("drop"), table('\t\tiifname "ve-*" accept\n').replace("jump more", "jump less"), NFT_CLOSED),
        # A rule without a match takes all that comes to it.
        (DOCKER + "-A FORWARD -j ACCEPT\n", "", "", ""),
        (DOCKER + '-A FORWARD -m comment --comment "all -j DROP" -j ACCEPT\n', "", "", ""),
        (DOCKER + "-A DOCKER-USER -j ACCEPT\n", "", "", ""),
        (DOCKER + "-A FORWARD -i docker0 -j DOCKER\n-A DOCKER -j ACCEPT\n", "", "", CLOSED),
        (DOCKER + "-A FORWARD -i ve-+ -j DOCKER\n-A DOCKER -j ACCEPT\n", "", "", ""),
        (DOCKER + "-A FORWARD -j DOCKER\n-A DOCKER -j FORWARD\n", "", "", CLOSED),
        ("", chains("drop"), table("\t\taccept\n"), ""),
        ("", chains("drop"), table('\t\tcounter packets 7 bytes 9 accept comment "x"\n'), ""),
        ("", chains("drop"), table("\t\tct state established,related accept\n"), NFT_CLOSED),
        ("", chains("drop"), table('\t\tdrop comment "accept"\n'), NFT_CLOSED),
        ("", chains("drop"), table("\t\taccept\n").replace("jump more", 'iifname "br0" jump more'), NFT_CLOSED),
        ("", chains("drop"), table("\t\taccept\n").replace("jump more", 'iifname vmap { "ve-*" : jump more }'), ""),
        ("", "no JSON", "", ""),
        ("", "", "", ""),
    ],
)
def test_a_firewall_that_forwards_nothing_of_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, iptables: str, nft_chains: str, ruleset: str, closed: str
) -> None:
    """R-35, R-36: docker had set FORWARD DROP, curl in a container waited for ever, and doctor was silent."""
    for name, text in (("iptables", iptables), ("chains", nft_chains), ("ruleset", ruleset)):
        (tmp_path / f"{name}.txt").write_text(text)
    (tmp_path / "iptables").write_text(f"#!/bin/sh\nexec /bin/cat {tmp_path}/iptables.txt\n")
    (tmp_path / "nft").write_text(
        f"#!/bin/sh\ncase $* in '-j list chains') exec /bin/cat {tmp_path}/chains.txt;; esac\n"
        f"exec /bin/cat {tmp_path}/ruleset.txt\n"
    )
    for name in ("iptables", "nft"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "route").write_text(ROUTES)
    monkeypatch.setattr(forwarding, "_ROUTES", str(tmp_path / "route"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert forwarding.closed_by() == closed


def test_without_a_firewall_program_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert forwarding.closed_by() == ""


def test_watches_are_counted_up_to_what_is_enough(tmp_path: Path) -> None:
    """R-22: an IDE's `No space left on device` was silent."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = inotify_use.watches_of(os.geteuid(), 1_000_000)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    try:
        for number in range(50):
            (tmp_path / str(number)).mkdir()
            assert libc.inotify_add_watch(fd, os.fsencode(tmp_path / str(number)), 0x100) >= 0
        assert inotify_use.watches_of(os.geteuid(), 1_000_000) >= min(50, before + 50)
        assert inotify_use.watches_of(os.geteuid(), 7) == 7
    finally:
        os.close(fd)


def test_an_account_without_processes_has_no_watches() -> None:
    assert inotify_use.watches_of(4_000_000_000, 10) == 0


def test_when_isod_was_installed_is_told_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """N18: packages keep the times of their making, so those of last modification tell nothing."""
    library = tmp_path / "lib/isoctl"
    for name in ("isoctl/installation.py", "isod/__init__.py", "isod/core/apps.py"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text("")
        os.utime(library / name, (1, 1))
    monkeypatch.setattr(installation, "__file__", str(library / "isoctl/installation.py"))
    assert installation.prefix() == str(tmp_path)
    assert abs(installation.installed_at_usec() / 1e6 - time.time()) < 3600
    monkeypatch.setattr(installation, "__file__", "/nix/store/x-isoctl/lib/isoctl/isoctl/installation.py")
    assert (installation.prefix(), installation.installed_at_usec()) == ("", 0)
    monkeypatch.setattr(installation, "__file__", "/src/isoctl/client/isoctl/installation.py")
    assert (installation.prefix(), installation.installed_at_usec()) == ("", 0)
