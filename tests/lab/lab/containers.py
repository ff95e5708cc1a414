"""The product containers of the lab: what kinds there are, their policies and their special traits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FOREVER_SEC = 1_000_000_000

SHELLS = {
    "sh": "/bin/sh",
    "bash": "/bin/bash",
    "dash": "/bin/dash",
    "zsh": "/usr/bin/zsh",
    "fish": "/usr/bin/fish",
    "ksh": "/usr/bin/ksh",
    "nologin": "/usr/sbin/nologin",
}


@dataclass(frozen=True)
class Container:
    """One container of the lab and how it differs from the plain kind."""

    name: str
    users: tuple[str, ...] = ("alice",)
    # lines of its .nspawn file by section, beside what all have there
    nspawn: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # EXTRA_NSPAWN_FLAGS, as an administrator sets them
    flags: tuple[str, ...] = ()
    own_unit: str | None = None
    policy: tuple[str, ...] = ()
    has_policy: bool = True
    # units that this container must not have
    masked: tuple[str, ...] = ()
    bus_delay_sec: int = 0
    start_timeout: str = ""
    # login name -> shell; uids from 1101 on
    accounts: dict[str, str] = field(default_factory=dict)
    bus: bool = True
    bus_program: str = "dbus-daemon"

    @property
    def unit(self) -> str:
        """The unit on the lab host that runs this container."""
        return self.own_unit or f"container@{self.name}.service"


_NIX = "/nix/var/nix"
_SHORT_START = ("start_timeout_sec = 4",)
_USERS: Mapping[str, tuple[str, ...]] = {"Exec": ("PrivateUsers=pick",), "Network": ("Private=yes",)}

CONTAINERS = (
    Container("blog"),
    Container("shared", users=("alice", "carol")),
    Container("bobs", users=("bob",)),
    Container("priv", nspawn=_USERS),
    Container("privchown", nspawn={**_USERS, "Files": ("PrivateUsersOwnership=chown",)}),
    Container("net", flags=("--private-network",)),
    Container("evil"),
    Container("slow", bus_delay_sec=8),
    Container("nodbus", masked=("dbus.service", "dbus.socket"), bus=False),
    # READY as soon as nspawn runs, whatever happens inside
    Container("never", bus_delay_sec=FOREVER_SEC, flags=("--notify-ready=no",), policy=_SHORT_START, bus=False),
    Container("hang", bus_delay_sec=FOREVER_SEC, start_timeout="infinity", policy=_SHORT_START, bus=False),
    Container("broker", bus_program="dbus-broker"),
    Container("nologind", masked=("systemd-logind.service", "dbus-org.freedesktop.login1.service")),
    Container(
        "nixlike",
        nspawn={
            "Files": tuple(
                f"Bind={_NIX}/{kind}/per-container/nixlike:{_NIX}/{kind}" for kind in ("profiles", "gcroots")
            )
        },
    ),
    Container("shells", accounts={f"acct_{name}": shell for name, shell in SHELLS.items()}),
    Container("deb", own_unit="systemd-nspawn@deb.service", policy=('unit = "systemd-nspawn@deb.service"',)),
    Container("plain", own_unit="plain-container.service", policy=('unit = "plain-container.service"',)),
    Container("Upper.Case-1"),
    Container("ghost", has_policy=False),
)

BY_NAME = {container.name: container for container in CONTAINERS}


def nspawn_text(container: Container) -> str:
    """The .nspawn file of one container: its kind, and /usr shared by the lab host, which makes it small."""
    sections = {"Exec": ("Boot=yes",), "Files": ("BindReadOnly=/usr",)}
    for section, lines in container.nspawn.items():
        sections[section] = (*sections.get(section, ()), *lines)
    return "\n".join(line for section, lines in sections.items() for line in (f"[{section}]", *lines)) + "\n"


def drop_in_text(container: Container) -> str:
    """What an administrator adds to the shipped unit for one container; empty for nothing."""
    lines = []
    if container.flags:
        lines.append(f'Environment="EXTRA_NSPAWN_FLAGS={" ".join(container.flags)}"')
    if container.start_timeout:
        lines.append(f"TimeoutStartSec={container.start_timeout}")
    return "\n".join(("[Service]", *lines)) + "\n" if lines else ""


def plain_unit_text() -> str:
    """A unit that somebody wrote for one container, without a template and without a word of isod's."""
    return (
        "[Unit]\nDescription=Container plain\nAfter=network.target\n"
        "[Service]\nExecStart=systemd-nspawn --keep-unit -M plain -D /var/lib/machines/plain --notify-ready=yes "
        "--kill-signal=SIGRTMIN+3 --link-journal=try-guest --bind-ro=/usr --boot\n"
        "Type=notify\nKillMode=mixed\nSlice=machine.slice\nDelegate=yes\nDevicePolicy=closed\n"
        "TasksMax=16384\nRestartForceExitStatus=133\nSuccessExitStatus=133\nTimeoutStartSec=60\n"
        "DeviceAllow=/dev/ptmx rwm\nDeviceAllow=char-pts rw\nDeviceAllow=/dev/net/tun rwm\n"
    )


def policy_text(container: Container) -> str:
    """The policy file of one container."""
    users = ", ".join(f'"{user}"' for user in container.users)
    return "\n".join((f"users = [{users}]", *container.policy)) + "\n"
