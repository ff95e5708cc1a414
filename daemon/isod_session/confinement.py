"""What a sandboxed program checks of its own walls before it reads the first byte that a client sends.

systemd starts a unit without some of its namespaces where the kernel or a security module refuses them
(systemd.exec(5), "PrivateNetwork="), and says so in a debug message only. So the program itself looks, from inside;
without walls it ends. The names of the host's own namespaces come from isod-session, which is in them.
"""

import os
from collections.abc import Iterator, Mapping

EXIT_CODE = 78  # sysexits.h, EX_CONFIG
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the name of the directory
_PLACES = ("/home", "/root", "/run/user", "/run/dbus", "/var/lib", "/nix/var/nix/daemon-socket")
_NAMESPACES = ("ipc", "net", "mnt")
_STATUS = {"NoNewPrivs": "1", "Seccomp": "2"}


def identity_of_host() -> dict[str, str]:
    """Name what this process, which is in no such sandbox, shares with the host: to be told to one that must not."""
    names = {name: os.readlink(f"/proc/self/ns/{name}") for name in (*_NAMESPACES, "pid")}
    names["shm"] = _device_of(SHARED_MEMORY)
    return names


def missing(host: Mapping[str, str], *, may_have_nodes: bool, proc: str = "/proc/self") -> list[str]:
    """Name the walls that this process lacks, as phrases for people; none: it is confined."""
    return [*_open_namespaces(host, proc), *_rights(proc), *_reachable(host, may_have_nodes=may_have_nodes)]


def _open_namespaces(host: Mapping[str, str], proc: str) -> Iterator[str]:
    for name in _NAMESPACES:
        if not host.get(name) or os.readlink(f"{proc}/ns/{name}") == host[name]:
            yield f"no {name} namespace of its own"
    if os.readlink(f"{proc}/ns/pid") == host.get("pid", ""):
        if _may_signal():
            yield "it can signal the user's other processes"
        # Else the kernel takes it for who may trace them (ptrace(2), "Ptrace access mode checking").
        if _has_all_uids(proc):
            yield "it can read the user's other processes"


def _has_all_uids(proc: str) -> bool:
    """Tell whether it is in the first user namespace (user_namespaces(7)): in another, few uids have a number."""
    with open(f"{proc}/uid_map") as file:
        return file.read().split() == ["0", "0", str(2**32 - 1)]


def _may_signal() -> bool:
    try:
        os.kill(os.getpid(), 0)
    except PermissionError:
        return False
    return True


def _rights(proc: str) -> Iterator[str]:
    with open(f"{proc}/status") as file:
        pairs = [line.partition(":") for line in file]
    status = {name: value.strip() for name, _, value in pairs}
    for name, wanted in _STATUS.items():
        if status.get(name) != wanted:
            yield f"{name} is {status.get(name, 'unknown')}"
    held = [name for name in ("CapEff", "CapPrm", "CapBnd") if int(status.get(name, "1"), 16)]
    if held:
        yield f"it has capabilities ({', '.join(held)})"


def _reachable(host: Mapping[str, str], *, may_have_nodes: bool) -> Iterator[str]:
    if _device_of(SHARED_MEMORY) == host.get("shm"):
        yield f"the host's {SHARED_MEMORY}"
    for place in _PLACES:
        if _holds_something(place):
            yield f"it sees what is in {place}"
    if _holds_something("/dev/dri") and not may_have_nodes:
        yield "it has devices of graphics"


def _device_of(place: str) -> str:
    """Name the file system of a directory, of which another mount namespace may have the same."""
    try:
        return str(os.stat(place).st_dev)
    except OSError:
        return ""


def _holds_something(place: str) -> bool:
    try:
        return bool(os.listdir(place))
    except OSError:
        return False
