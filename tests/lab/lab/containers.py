"""The product containers of the lab: what kinds there are, their policies and their special traits."""

from __future__ import annotations

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
    nspawn_flags: tuple[str, ...] = ()
    own_unit: str | None = None
    policy: tuple[str, ...] = ()
    has_policy: bool = True
    # units that this container must not have
    masked: tuple[str, ...] = ()
    bus_delay_sec: int = 0
    # READY as soon as nspawn runs, whatever happens inside
    ready_at_once: bool = False
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

CONTAINERS = (
    Container("blog"),
    Container("shared", users=("alice", "carol")),
    Container("bobs", users=("bob",)),
    Container("priv", nspawn_flags=("--private-users=pick", "--private-network")),
    Container(
        "privchown",
        nspawn_flags=("--private-users=pick", "--private-network", "--private-users-ownership=chown"),
    ),
    Container("net", nspawn_flags=("--private-network",)),
    Container("evil"),
    Container("slow", bus_delay_sec=8),
    Container("nodbus", masked=("dbus.service", "dbus.socket"), bus=False),
    Container("never", bus_delay_sec=FOREVER_SEC, ready_at_once=True, policy=_SHORT_START, bus=False),
    Container("hang", bus_delay_sec=FOREVER_SEC, policy=_SHORT_START, bus=False),
    Container("broker", bus_program="dbus-broker"),
    Container("nologind", masked=("systemd-logind.service", "dbus-org.freedesktop.login1.service")),
    Container(
        "nixlike",
        nspawn_flags=tuple(
            f"--bind={_NIX}/{kind}/per-container/nixlike:{_NIX}/{kind}" for kind in ("profiles", "gcroots")
        ),
    ),
    Container("shells", accounts={f"acct_{name}": shell for name, shell in SHELLS.items()}),
    Container("deb", own_unit="systemd-nspawn@deb.service", policy=('unit = "systemd-nspawn@deb.service"',)),
    Container("plain", own_unit="plain-container.service", policy=('unit = "plain-container.service"',)),
    Container("Upper.Case-1"),
    Container("ghost", has_policy=False),
)

BY_NAME = {container.name: container for container in CONTAINERS}


def unit_text(container: str, flags: str, ready: str = "yes") -> str:
    """A unit that runs one container, like the one NixOS has, with /usr shared by the lab host."""
    devices = "null zero full random urandom tty ptmx".split()
    allow = "".join(f"DeviceAllow=/dev/{device} rwm\n" for device in devices)
    return (
        f"[Unit]\nDescription=Container {container}\nAfter=network.target\n"
        # a drop-in may set either variable; unset they would each cost a warning
        "[Service]\nEnvironment=LAB_NSPAWN_FLAGS= EXTRA_NSPAWN_FLAGS=\n"
        f"ExecStart=systemd-nspawn --keep-unit -M {container} -D /var/lib/machines/{container} "
        f"--notify-ready={ready} --kill-signal=SIGRTMIN+3 --link-journal=try-guest "
        f"--bind-ro=/usr --boot {flags}\n"
        "Type=notify\nKillMode=mixed\nSlice=machine.slice\nDelegate=yes\nDevicePolicy=closed\n"
        "TasksMax=16384\nRestartForceExitStatus=133\nSuccessExitStatus=133\nTimeoutStartSec=60\n"
        # without /dev/net/tun a container with user namespacing does not boot
        f"{allow}DeviceAllow=char-pts rw\nDeviceAllow=/dev/net/tun rwm\n"
    )


def policy_text(container: Container) -> str:
    """The policy file of one container."""
    users = ", ".join(f'"{user}"' for user in container.users)
    return "\n".join((f"users = [{users}]", *container.policy)) + "\n"
