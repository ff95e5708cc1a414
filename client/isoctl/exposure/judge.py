"""What a report means: exposures, the worst first, each with the setting that closes it."""

import re
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple

from isoctl.exposure import protocols
from isoctl.exposure.host import Owner, Owners
from isoctl.exposure.report import Mount, Report, Target
from isod_contract import registry


class Severity(IntEnum):
    """How bad it is if the app is hostile."""

    LOW = 1  # granted, and harmless as far as is known
    MEDIUM = 2  # a service to attack, or to be misled by
    HIGH = 3  # another user, another container, or files of the host
    CRITICAL = 4  # the user's whole session, or root of the host


class Exposure(NamedTuple):
    """One thing that is reachable: how bad, a stable code, the fact, the setting that closes it."""

    severity: Severity
    code: str
    what: str
    fix: str


class Container(NamedTuple):
    """What isod says of the container."""

    name: str
    unit: str
    grants: Mapping[str, str]

    @property
    def machine(self) -> str:
        """Give what systemd-nspawn calls it: the instance of its unit, where it is one."""
        return self.unit.removesuffix(".service").partition("@")[2] or self.name


CODES: Mapping[str, str] = {
    "abstract-socket": "an abstract socket on which a process outside listens",
    "capability-app": "the app has capabilities, though it is not root",
    "capability-extra": "root inside has rights beyond those of systemd-nspawn, and is the kernel's root",
    "device": "a device node that opens, beyond those that everybody may open",
    "host-socket": "a socket in its file system on which a process outside listens",
    "loopback": "a server on the host's 127.0.0.1 or ::1",
    "mount-writable": "a directory of the host that the app can write",
    "network-shared": "the network is the host's",
    "nix-daemon": "the host's Nix daemon, and whether it trusts the app's user",
    "other-container": "an abstract socket of another container",
    "root-is-root": "no user namespace: root inside is the kernel's root",
    "wayland": "the compositor, and what it offers on the socket that the app gets",
    "x-server": "an X server that is not the container's own",
}
"""What `judge` may find, by code."""

_PRIVATE_NETWORK = (
    "`VirtualEthernet=yes` (or `Private=yes`: none at all) below `[Network]` in /etc/systemd/nspawn/{machine}.nspawn, "
    'then `isoctl restart {name}`; NixOS: network = "private"; in betterContainers, else privateNetwork = true;'
)
_PRIVATE_USERS = (
    "`PrivateUsers=pick` below `[Exec]` in /etc/systemd/nspawn/{machine}.nspawn, then `isoctl restart {name}`; NixOS: "
    'privateUsers = "pick";'
)
_NIX_DAEMON = "mask the socket, `--inaccessible=/nix/var/nix/daemon-socket` in {unit}; NixOS: nixDaemon = false;"

_X_SOCKET = re.compile(r"@?/tmp/\.X11-unix/X\d+")
# Whoever may talk to these may do all.
_ALL_POWERFUL = re.compile(r"/(docker|podman|containerd|libvirt)[^/]*(\.sock|-sock)$|/(podman|containerd|libvirt)/")
# What each container has from nspawn, and everybody may open.
_EVERYONES = re.compile(r"/dev/(null|zero|full|random|urandom|tty|ptmx|console|pts/.*|fuse|net/tun)")
_DEVICES: tuple[tuple[str, Severity, str], ...] = (
    (r"mem|kmem|port|(sd|vd|nvme|dm-|md|loop|mmcblk|sr|mapper/).*", Severity.CRITICAL, "the host's memory or disks"),
    (r"input/.*|uinput|hidraw.*|tty\d+", Severity.CRITICAL, "keys, and input to all windows"),
    (r"dri/card.*|fb\d+|vhci", Severity.HIGH, "the screen's mode, and with it its contents"),
    (r"video.*|media.*|snd/.*", Severity.HIGH, "camera or microphone"),
    (r"dri/.*|kvm|nvidia.*|kfd|dma_heap/.*|udmabuf", Severity.MEDIUM, "a driver of the kernel to attack"),
)
# systemd-nspawn(1), --capability=: what it keeps without being told to; NET_ADMIN too in a network of its own.
_KEPT = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 18, 19, 21, 22, 23, 24, 26, 27, 28, 29, 30, 31})
_NET_ADMIN, _SYS_ADMIN = 12, 21
_CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]
# Kinds that hold no files of the host, and what nspawn and isod make themselves.
_PSEUDO = frozenset(
    [
        "proc",
        "sysfs",
        "cgroup",
        "cgroup2",
        "devpts",
        "mqueue",
        "securityfs",
        "debugfs",
        "tracefs",
        "bpf",
        "fusectl",
        "pstore",
        "binfmt_misc",
        "configfs",
        "hugetlbfs",
        "autofs",
        "nsfs",
        "ramfs",
    ]
)
_OWN_PLACES = re.compile(r"/(dev|proc|sys|run/host|run/isoctl|run/systemd)(/.*)?|/etc/resolv\.conf|/")


def judge(report: Report, container: Container, owners: Owners) -> list[Exposure]:
    """Give what is exposed, the worst first, then by code and text."""
    is_shared = bool(report.network) and report.network == owners.network
    found = [
        *_root(report, container, is_shared=is_shared),
        *_network(report, container, owners, is_shared=is_shared),
        *_files(report, container),
        *_devices(report, container),
        *_sockets(report, container),
        *_granted(container),
    ]
    return sorted(set(found), key=lambda item: (-item.severity, item.code, item.what))


def _root(report: Report, container: Container, *, is_shared: bool) -> Iterator[Exposure]:
    """Look at rights: of the app itself, and of root inside, to which any fault inside may lead."""
    if report.effective and report.uid != 0:
        text = f"the app itself has capabilities: {_names(report.effective)}"
        yield Exposure(
            Severity.CRITICAL, "capability-app", text, f"no `AmbientCapabilities=` for apps inside {container.name}"
        )
    if not report.maps:
        return
    if not report.has_user_namespace:
        most = "CAP_SYS_ADMIN among its rights" if report.bounding >> _SYS_ADMIN & 1 else "few rights"
        yield Exposure(
            Severity.HIGH,
            "root-is-root",
            f"no user namespace: root inside is the kernel's root, with {most}",
            _PRIVATE_USERS.format(name=container.name, machine=container.machine),
        )
        kept = _KEPT - ({_NET_ADMIN} if is_shared else set())
        extra = sum(1 << bit for bit in range(64) if report.bounding >> bit & 1 and bit not in kept)
        if extra:
            yield Exposure(
                Severity.HIGH,
                "capability-extra",
                f"root inside has more than systemd-nspawn gives: {_names(extra)}",
                f"no `--capability=` in {container.unit}; NixOS: additionalCapabilities = [ ];",
            )


def _names(mask: int) -> str:
    """Name the capabilities of a mask (capabilities(7))."""
    known = [name for bit, name in enumerate(_CAPABILITIES) if mask >> bit & 1]
    return ", ".join(f"CAP_{name}" for name in known) or f"{mask:#x}"


def _network(report: Report, container: Container, owners: Owners, *, is_shared: bool) -> Iterator[Exposure]:
    """Look at abstract sockets and at what listens on the loopback: with the host's network they are the host's."""
    fix = _PRIVATE_NETWORK.format(name=container.name, machine=container.machine)
    if is_shared:
        yield Exposure(Severity.MEDIUM, "network-shared", "its network is the host's", fix)
    for target in report.targets:
        if target.key in report.own or not target.is_open:
            continue
        if target.op in ("a", "A"):
            yield from _abstract(target, container, owners, fix, is_shared=is_shared)
        elif target.op in ("4", "6") and is_shared:
            tried = "accepts" if target.result else "listens, and was not tried,"
            yield Exposure(Severity.MEDIUM, "loopback", f"{target.address} {tried} on the host's loopback", fix)


def _abstract(target: Target, container: Container, owners: Owners, fix: str, *, is_shared: bool) -> Iterator[Exposure]:
    """Judge an abstract socket, unless a process of the container itself listens on it."""
    owner = owners.of(target.key, seqpacket=target.op == "A") if is_shared else Owner()
    if target.peer > 0 or owner.unit == container.unit or (target.peer < 0 and not is_shared):
        return
    whose = f" of {owner.unit}" if owner.unit else ""
    tried = "" if target.result else ", which was not tried"
    if _X_SOCKET.fullmatch(target.address):
        yield from _x_server(target, f"{target.address}{whose}", fix)
    elif owner.is_container:
        yield Exposure(Severity.HIGH, "other-container", f"abstract socket {target.address}{whose}{tried}", fix)
    else:
        yield Exposure(Severity.MEDIUM, "abstract-socket", f"abstract socket {target.address}{whose}{tried}", fix)


def _x_server(target: Target, what: str, fix: str) -> Iterator[Exposure]:
    if protocols.x11_accepts(target.answer):
        text = f"X server at {what} lets it in: it reads the screen and all keys of X programs"
        yield Exposure(Severity.CRITICAL, "x-server", text, fix)
    else:
        how = "was not tried" if not target.result else "refuses it by access control"
        yield Exposure(Severity.HIGH, "x-server", f"X server at {what}, which {how}", fix)


def _files(report: Report, container: Container) -> Iterator[Exposure]:
    """Look at mounts from the host that can be written: what is written there the host may read, or run."""
    root = next((mount for mount in report.mounts if mount.place == "/"), None)
    for mount in report.mounts:
        if not mount.writable or mount.kind in _PSEUDO or _OWN_PLACES.fullmatch(mount.place):
            continue
        if mount.kind == "tmpfs" and mount.source == "/":
            continue  # of its own: one of the host's shows the directory in it
        yield _writable(mount, container, own_root=root)


def _writable(mount: Mount, container: Container, *, own_root: Mount | None) -> Exposure:
    same = own_root is not None and own_root.device == mount.device
    source = f"{mount.source} of the {'same' if same else mount.kind} file system"
    is_whole = mount.source in ("/", "/home", "/etc", "/root", "/usr", "/var", "/boot")
    severity = Severity.CRITICAL if is_whole and mount.kind != "tmpfs" else Severity.HIGH
    return Exposure(
        severity,
        "mount-writable",
        f"{mount.place} can be written, which is {source} on the host",
        f"`--bind-ro=` instead of `--bind=` in {container.unit}; NixOS: readOnly = true; of the share",
    )


def _devices(report: Report, container: Container) -> Iterator[Exposure]:
    """Look at device nodes that open."""
    for target in report.targets:
        if target.op != "o" or target.result != "ok" or _EVERYONES.fullmatch(target.address):
            continue
        name = target.address.removeprefix("/dev/")
        severity, why = next(
            ((level, text) for pattern, level, text in _DEVICES if re.fullmatch(pattern, name)),
            (Severity.MEDIUM, "a driver of the kernel to attack"),
        )
        if name.startswith("dri/render") and container.grants.get("gpu", "none") != "none":
            fix = f'`grants.gpu = "none"` in /etc/isod/containers/{container.name}.toml'
        else:
            fix = f"no `DeviceAllow=` and no bind of it in {container.unit}; NixOS: allowedDevices, bindMounts"
        yield Exposure(severity, "device", f"{target.address} opens: {why}", fix)


def _granted(container: Container) -> Iterator[Exposure]:
    """Name what policy gives whatever is measured: the server of another display than the app is on is not tried."""
    if container.grants.get("x11") == "host":
        text = "policy gives it the user's own X server: it reads the screen and all keys of X programs"
        fix = f'`grants.x11 = "isolated"` in /etc/isod/containers/{container.name}.toml'
        yield Exposure(Severity.CRITICAL, "x-server", text, fix)


def _sockets(report: Report, container: Container) -> Iterator[Exposure]:
    """Look at sockets in its file system: the display that was granted, the Nix daemon, others of the host's."""
    for target in report.targets:
        if target.op != "u" or not target.is_open:
            continue
        if target.address.startswith("/run/isoctl/"):
            yield from _wayland(target, container)
        elif target.address.startswith("/nix/var/nix/daemon-socket/"):
            yield from _nix(target, container)
        elif target.peer == 0:
            yield from _of_the_host(target, container)


def _of_the_host(target: Target, container: Container) -> Iterator[Exposure]:
    fix = f"no bind of it in {container.unit}; NixOS: bindMounts"
    if _X_SOCKET.fullmatch(target.address):
        yield from _x_server(target, target.address, fix)
    elif _ALL_POWERFUL.search(target.address):
        text = f"{target.address}: whoever may call that service is root of the host"
        yield Exposure(Severity.CRITICAL, "host-socket", text, fix)
    else:
        yield Exposure(Severity.HIGH, "host-socket", f"{target.address}, on which a process outside listens", fix)


def _wayland(target: Target, container: Container) -> Iterator[Exposure]:
    """Judge the compositor's registry, as the app got it."""
    offered = protocols.wayland_interfaces(target.answer)
    path = f"/etc/isod/containers/{container.name}.toml"
    forbidden = registry.forbidden(offered)
    beyond = [name for name in registry.beyond_windows(offered) if name not in forbidden]
    if forbidden:
        text = f"the compositor offers it {', '.join([*forbidden, *beyond])}: screen, keys or input of all windows"
        yield Exposure(Severity.CRITICAL, "wayland", text, f'`grants.wayland = "secured"` in {path}')
    elif beyond:
        text = f"the compositor offers it more than windows: {', '.join(beyond)}"
        yield Exposure(Severity.MEDIUM, "wayland", text, f'`grants.wayland = "none"` in {path}')
    else:
        count = f"{len(offered)} interfaces" if offered else "its interfaces were not read"
        text = f"windows of its own on the compositor ({count})"
        yield Exposure(Severity.LOW, "wayland", text, f'`grants.wayland = "none"` in {path}')


def _nix(target: Target, container: Container) -> Iterator[Exposure]:
    trusts = protocols.nix_trusts(target.answer)
    fix = _NIX_DAEMON.format(unit=container.unit)
    if trusts:
        text = "the host's Nix daemon trusts it, which is root of the host"
        yield Exposure(
            Severity.CRITICAL, "nix-daemon", text, f"take the user out of nix.settings.trusted-users, or {fix}"
        )
    else:
        known = "does not trust it" if trusts is False else "does not say whether it trusts it"
        yield Exposure(Severity.MEDIUM, "nix-daemon", f"the host's Nix daemon answers, and {known}", fix)
