"""Whether anybody in a container is connected to the displays that are shown there; nothing inside is asked.

The kernel lists the server's end of a connection in the network namespace of the client, by the path that the server
was bound to (proc_pid_net(5), `unix`). So the sockets that isod listens on are known by what they were bound to, also
where the container has the host's network. A host's own socket that is mounted is not: there all of the host's programs
have connections of the same path. Then what the account runs is looked at instead: units of its manager, and processes
of it elsewhere in the container, as of system services and of sessions that are over.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from isod.core.windows import ShownSocket, UnknownUse
from isod.host.processes import network_of, pid_of

_CGROUPS = Path("/sys/fs/cgroup")
_TABLE_BYTES_MAX = 4 * 1024 * 1024  # 40,000 sockets; whoever makes more makes it unknown
_CGROUPS_READ_MAX = 2000
_PROCESSES_READ_MAX = 4000
_LISTENING = 0x10000  # __SO_ACCEPTCON
_CONNECTED = (b"02", b"03")  # connecting, connected: one that the server has not taken yet waits for it
# What a user manager runs as soon as there is a display, with one connection each and no window.
_WINDOWLESS = (
    *("xdg-desktop-portal", "xdg-document-portal", "xdg-permission-store"),
    *("at-spi", "ibus", "fcitx", "gnome-keyring", "gcr-ssh-agent", "gvfs-"),
)
# Without a window for as long as they are one process: what a bus or an agent starts has its control group.
_WINDOWLESS_ALONE = (
    *("dbus.service", "dbus-broker.service", "dconf.service", "gpg-agent.service", "ssh-agent.service"),
    *("pipewire.service", "pipewire-pulse.service", "wireplumber.service", "pulseaudio.service"),
)
# Outside of it: what holds the session that isod keeps for the account (isod.core.prepare).
_KEEPERS = ("sleep", "(sd-pam)")


def used_by(pidfd: int, sockets: Sequence[ShownSocket], cgroups: Path = _CGROUPS) -> str:
    """Give what uses these sockets in the container of a process, "" for nothing. Blocks; raises UnknownUse."""
    pid = pid_of(pidfd)
    if pid <= 0 or not sockets:
        return ""
    try:
        connected = _connections(pid)
        has_hosts_network = network_of(pid) in (None, network_of(1))
    except OSError as error:
        raise UnknownUse(f"its connections can't be read: {error.strerror}") from None
    for uid in sorted({shown.uid for shown in sockets}):
        own = [shown for shown in sockets if shown.uid == uid]
        countable = [shown for shown in own if shown.is_isods or not has_hosts_network]
        clients = sum(connected[name] for name in {shown.path for shown in countable})
        is_countable = len(countable) == len(own)
        units, busy = _running(pid, uid, cgroups, elsewhere=bool(clients) or not is_countable)
        # Whose connection it is can't be told. Services without a window often hold none: they excuse connections only
        # where nothing else runs that could have one.
        excused = 0 if busy else sum(unit.startswith(_WINDOWLESS) for unit in units)
        if clients > excused:
            return f"{clients} {'connection' if clients == 1 else 'connections'} to its display"
        if busy and not is_countable:
            return f"{busy} of uid {uid}"
    return ""


def _connections(pid: int) -> Counter[str]:
    """Count the connections of a network namespace by what the server is bound to. Raises OSError, UnknownUse."""
    found: Counter[str] = Counter()
    left_bytes = _TABLE_BYTES_MAX
    with open(f"/proc/{pid}/net/unix", "rb") as table:
        next(table, b"")
        for line in table:
            left_bytes -= len(line)
            if left_bytes < 0:
                raise UnknownUse("it has too many connections")
            # Num RefCount Protocol Flags Type St Inode Path. The path may hold anything, newlines too: whoever is in
            # that network can add lines, and keep the container running; theirs hide no other line.
            fields = line.rstrip(b"\n").split(maxsplit=7)
            if len(fields) == 8 and fields[5] in _CONNECTED and not _flags(fields[3]) & _LISTENING:
                found[os.fsdecode(fields[7])] += 1
    return found


def _flags(untrusted_field: bytes) -> int:
    try:
        return int(untrusted_field, 16)
    except ValueError:
        return _LISTENING  # no line of the kernel's


def _running(pid: int, uid: int, cgroups: Path, *, elsewhere: bool) -> tuple[dict[str, int], str]:
    """Give the units of an account's manager with their numbers of processes, and what of all may show windows.

    With `elsewhere` that is looked for in the rest of the container, too. Raises UnknownUse.
    """
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        host_uid = _on_host(pid, uid)
    except OSError:
        return {}, ""  # it has ended
    own = next((line.removeprefix("0::") for line in groups if line.startswith("0::")), "")
    container = cgroups / os.path.dirname(own).lstrip("/")
    manager = container / f"user.slice/user-{uid}.slice/user@{uid}.service"
    units = {directory.name: len(pids) for directory, pids in _groups(manager, uid)}
    busy = _busy(units)
    if busy or not elsewhere:
        return units, busy
    return units, _outside(_groups(container, uid, manager), host_uid)


def _groups(top: Path, uid: int, but: Path | None = None) -> Iterator[tuple[Path, Sequence[bytes]]]:
    """Give the control groups from one on in which something runs, but for one, and the pids in each."""
    waiting = [top]
    for _ in range(_CGROUPS_READ_MAX):
        if not waiting:
            return
        directory = waiting.pop()
        if directory == but:
            continue
        try:
            pids = (directory / "cgroup.procs").read_bytes().split()
            waiting.extend(Path(entry.path) for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False))
        except OSError:
            continue  # it has ended
        if pids:
            yield directory, pids
    raise UnknownUse(f"uid {uid} has too many control groups")


def _outside(groups: Iterable[tuple[Path, Sequence[bytes]]], host_uid: int) -> str:
    """Give a control group that is not of the account's manager and has a process of the account, "" for none."""
    if host_uid < 0:
        return ""
    left = _PROCESSES_READ_MAX
    for directory, pids in groups:
        left -= len(pids)
        if left < 0:
            raise UnknownUse(f"it has more than {_PROCESSES_READ_MAX} processes")
        for pid in pids:
            name, owner = _name_and_owner(int(pid))
            if owner == host_uid and name not in _KEEPERS:
                return directory.name
    return ""


def _name_and_owner(pid: int) -> tuple[str, int]:
    """Give a process's name and the user it runs as (proc(5), status); ("", -1) where it has ended."""
    try:
        with open(f"/proc/{pid}/status", errors="replace") as lines:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in lines if line.startswith(("Name:\t", "Uid:\t")))
        return fields["Name"], int(fields["Uid"].split()[1])
    except (OSError, KeyError):
        return "", -1


def _on_host(pid: int, uid: int) -> int:
    """Give the host's uid of an account (user_namespaces(7), uid_map). Raises OSError.

    -1 where there is none, and for root: all the services of a system are root's.
    """
    if not uid:
        return -1
    for line in Path(f"/proc/{pid}/uid_map").read_text().splitlines():
        first, host_first, count = map(int, line.split())
        if first <= uid < first + count:
            return host_first + uid - first
    return -1


def _busy(units: dict[str, int]) -> str:
    """Give a unit that may show windows, "" for none."""
    for unit, processes in sorted(units.items()):
        alone = 1 if unit in _WINDOWLESS_ALONE else 0
        if processes > alone and unit != "init.scope" and not unit.startswith(_WINDOWLESS):
            return unit
    return ""
