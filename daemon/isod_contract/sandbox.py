"""The unit of a program of ours that parses what a client in a container sends: an X server, whatever its client is.

One template, so that the user's systemd and the host's give the same walls: properties of a transient unit
(org.freedesktop.systemd1(5), systemd.exec(5), systemd.resource-control(5)). A program in it is alone: no process, no
file of the user's, no socket, no device, no shared memory of the host's can be named. What it needs comes by
descriptors, on its standard input. systemd ignores some of these settings where the kernel refuses them, so the program
looks at its walls itself before it reads the first byte of a client (`isod_session.confinement`).
"""

import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PRIVATE_PIDS_SINCE = 257
"""The version of systemd that first has PrivatePIDs=."""

MEMORY_BYTES_MAX = 1 << 30
TASKS_MAX = 64

# What a program and its libraries may read of the host's files. All other directories of / are hidden.
_SEEN = frozenset({"bin", "etc", "lib", "lib32", "lib64", "libx32", "nix", "gnu", "sbin", "usr"})
# Below what is seen, and no program: daemons that anybody may ask for what they have rights to.
_DAEMONS = ("/nix/var/nix/daemon-socket", "/nix/var/nix/gc-socket")
# Shown otherwise: made anew, or emptied.
_REPLACED = frozenset({"dev", "proc", "sys", "tmp", "run", "var", "home", "root"})
# NixOS: what a path of the host's programs, and its graphics drivers, lead by.
_RUN_SEEN = ("/run/current-system", "/run/opengl-driver", "/run/opengl-driver-32")
# Without a pid namespace: what reaches the user's other processes by their number.
_OF_OTHER_PROCESSES = (
    "kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open", "pidfd_send_signal",
    "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "kcmp", "ptrace", "prlimit64",
)  # fmt: skip
_NO_NETWORK = ((2, bytes(4), 0), (10, bytes(16), 0))  # 0.0.0.0/0 and ::/0

Property = tuple[str, str, Any]
"""Name, D-Bus signature and value of a unit's property."""


class Program(NamedTuple):
    """What is to run in the unit."""

    description: str
    argv: Sequence[str]
    nodes: Sequence[str] = ()  # devices that it may open, beyond /dev/null and its kind


def x_server(path: str, container: str, nodes: Sequence[str]) -> Program:
    """Give the X server of a container; `path` is that of isod-xserver, `nodes` are the granted ones of its GPUs."""
    return Program(f"X server of container {container}", (path, container), nodes=tuple(nodes))


def properties(program: Program, *, systemd: int, by_host: bool = False, root: Path = Path("/")) -> list[Property]:
    """Give the unit's properties; `systemd` is the version of the manager that is to run it, `by_host` which one.

    `StandardInputFileDescriptor` is the caller's to add, as is the user of a unit of the host's systemd.
    """
    return [
        ("Description", "s", program.description),
        ("Type", "s", "exec"),
        ("CollectMode", "s", "inactive-or-failed"),
        ("StandardOutput", "s", "journal"),
        ("StandardError", "s", "journal"),
        ("SyslogIdentifier", "s", Path(program.argv[0]).name),
        ("ExecStart", "a(sasb)", [[program.argv[0], list(program.argv), False]]),
        # The first process of a pid namespace has no signal that it does not handle.
        ("TimeoutStopUSec", "t", 5_000_000),
        *_namespaces(systemd, by_host=by_host),
        *_files(_others(root, program.argv[0])),
        *_devices(program.nodes),
        *_system_calls(systemd),
        # A driver's compiler of shaders writes code that it runs.
        *([] if program.nodes else [("MemoryDenyWriteExecute", "b", True)]),
        *_limits(),
    ]


def _namespaces(systemd: int, *, by_host: bool) -> list[Property]:
    return [
        *([("PrivatePIDs", "s", "yes")] if systemd >= PRIVATE_PIDS_SINCE else []),
        # What lets a user's systemd make all others; and without a pid namespace what keeps it from the user's other
        # processes below /proc. The host's can do without where there is one, also if the kernel gives nobody any
        # (user.max_user_namespaces=0 holds for root too).
        *([] if by_host and systemd >= PRIVATE_PIDS_SINCE else [("PrivateUsers", "b", True)]),
        ("PrivateIPC", "b", True),
        ("PrivateNetwork", "b", True),
        ("PrivateMounts", "b", True),
        ("ProtectHostname", "b", True),
        ("RestrictNamespaces", "t", 0),
        ("KeyringMode", "s", "private"),
    ]


def _files(others: Iterable[str]) -> list[Property]:
    return [
        ("ProtectSystem", "s", "strict"),
        ("ProtectHome", "s", "tmpfs"),
        (
            "TemporaryFileSystem",
            "a(ss)",
            [
                ["/run", "ro,mode=755"],
                ["/var", "ro,mode=755"],
                ["/tmp", "mode=1777,size=16M"],  # noqa: S108 - its own
                ["/dev/shm", "mode=1777,size=64M"],  # noqa: S108 - its own
            ],
        ),
        ("BindReadOnlyPaths", "a(ssbt)", [[path, path, True, 0] for path in _RUN_SEEN]),
        ("InaccessiblePaths", "as", [f"-{path}" for path in (*others, *_DAEMONS)]),
        ("MountAPIVFS", "b", True),
        ("ProtectProc", "s", "invisible"),
        ("ProcSubset", "s", "pid"),
        ("ProtectKernelTunables", "b", True),
        ("ProtectKernelModules", "b", True),
        ("ProtectKernelLogs", "b", True),
        ("ProtectControlGroups", "b", True),
        ("ProtectClock", "b", True),
        ("UMask", "u", 0o077),
    ]


def _others(root: Path, program: str) -> list[str]:
    """Give the directories of / that hold neither programs nor what is shown anew: disks, exports, an administrator's.

    A link leads to something that is hidden or seen by itself.
    """
    seen = _SEEN | _REPLACED | {Path(program).parts[1]}
    try:
        entries = [entry.name for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    # A name that systemd would have to unquote is not there on any host that we know; `:` would be its end.
    return sorted(f"/{name}" for name in entries if name not in seen and ":" not in name)


def _devices(nodes: Sequence[str]) -> list[Property]:
    return [
        ("PrivateDevices", "b", True),
        ("DevicePolicy", "s", "closed"),
        *([("DeviceAllow", "a(ss)", [[node, "rw"] for node in nodes])] if nodes else []),
        *([("BindPaths", "a(ssbt)", [[node, node, True, 0] for node in nodes])] if nodes else []),
    ]


def _system_calls(systemd: int) -> list[Property]:
    calls: list[Property] = [
        ("NoNewPrivileges", "b", True),
        ("CapabilityBoundingSet", "t", 0),
        ("RestrictSUIDSGID", "b", True),
        ("RestrictRealtime", "b", True),
        ("RestrictAddressFamilies", "(bas)", [True, ["AF_UNIX"]]),
        ("IPAddressDeny", "a(iayu)", [list(entry) for entry in _NO_NETWORK]),
        ("LockPersonality", "b", True),
        ("SystemCallArchitectures", "as", ["native"]),
        ("SystemCallErrorNumber", "i", errno.EPERM),
        ("SystemCallFilter", "(bas)", [True, ["@system-service"]]),
        ("SystemCallFilter", "(bas)", [False, ["@privileged", "@resources"]]),
        # An X server's xkbcomp becomes the user that it is already before it does anything.
        ("SystemCallFilter", "(bas)", [True, ["@setuid"]]),
    ]
    if systemd < PRIVATE_PIDS_SINCE:
        calls.append(("SystemCallFilter", "(bas)", [False, list(_OF_OTHER_PROCESSES)]))
    return calls


def _limits() -> list[Property]:
    return [
        ("MemoryMax", "t", MEMORY_BYTES_MAX),
        ("MemorySwapMax", "t", 0),
        # Before that is reached an allocation fails: of one client, which is told so.
        ("LimitDATA", "t", MEMORY_BYTES_MAX * 3 // 4),
        ("LimitDATASoft", "t", MEMORY_BYTES_MAX * 3 // 4),
        ("TasksMax", "t", TASKS_MAX),
        ("LimitNOFILE", "t", 4096),
        ("LimitNOFILESoft", "t", 4096),
        ("LimitCORE", "t", 0),
        ("LimitCORESoft", "t", 0),
        # A client has a server write; journald takes no more of it (in 30 s), nor fewer of others for it.
        ("LogRateLimitIntervalUSec", "t", 30_000_000),
        ("LogRateLimitBurst", "u", 200),
    ]
