"""Versions and bounds of the kernel and of systemd."""

from collections.abc import Iterator

from isoctl.host import Host
from isod_contract.findings import Problem, check
from isod_contract.versions import FLOOR, faults, numbers

_WATCHES = "/proc/sys/fs/inotify/max_user_watches"
_INSTANCES = "/proc/sys/fs/inotify/max_user_instances"
# Measured: a booted Debian 13 container holds 6 of root's and 3 of its user's, its host without a desktop 9 of root's.
_INSTANCES_PER_CONTAINER = 8
_INSTANCES_OF_HOST = 32


def _below(program: str, version: str) -> Iterator[Problem]:
    needed = FLOOR[program]
    if version and numbers(version) < needed:
        text = ".".join(map(str, needed))
        yield Problem(f"{program} {version} is older than {text}", f"upgrade this host to {program} {text} or later")


@check("systemd-old", "isod refuses to run on it")
def systemd_old(host: Host) -> Iterator[Problem]:
    """Report a systemd below the floor."""
    yield from _below("systemd", host.systemd)


@check("kernel-old", "isod refuses to run on it")
def kernel_old(host: Host) -> Iterator[Problem]:
    """Report a kernel below the floor."""
    yield from _below("Linux", host.kernel)


@check("version-bad", "it was fixed later")
def version_bad(host: Host) -> Iterator[Problem]:
    """Report released versions with faults that matter here."""
    for program, version in (("systemd", host.systemd), ("polkit", host.polkit)):
        for bad in faults(program, version) if version else []:
            fixed = ".".join(map(str, bad.fixed))
            yield Problem(
                f"{program} {version} has a known fault, {bad.fault}",
                f"upgrade to {program} {fixed} or later, unless your distribution has fixed this one",
            )


@check("inotify-instances", "systemd, journald or D-Bus of a container fail to start, with `Too many open files`")
def inotify_instances(host: Host) -> Iterator[Problem]:
    """Report a bound that so many containers exceed: root's instances in containers without user namespaces count."""
    limit = host.number(_INSTANCES)
    wanted = _INSTANCES_OF_HOST + _INSTANCES_PER_CONTAINER * len(host.containers)
    if limit is not None and limit < wanted and host.containers:
        proper = max(1024, 2 * wanted)
        setting = f"fs.inotify.max_user_instances={proper}"
        yield Problem(
            f"fs.inotify.max_user_instances is {limit}, and {len(host.containers)} containers with this host may take "
            f"{wanted}",
            f"`sysctl -w {setting}`, and `{setting}` in /etc/sysctl.d/isod.conf; NixOS: "
            f'boot.kernel.sysctl."fs.inotify.max_user_instances" = {proper};',
        )


@check("inotify-watches", "programs miss changes of files, or end with `No space left on device`")
def inotify_watches(host: Host) -> Iterator[Problem]:
    """Report a bound on watches that is nearly reached: those of all containers count, and those of the host."""
    limit = host.number(_WATCHES)
    if not limit:
        return
    near = limit - limit // 10
    if host.watches(near) >= near:
        proper = max(524288, 4 * limit)
        setting = f"fs.inotify.max_user_watches={proper}"
        yield Problem(
            f"your processes, in containers too, hold {near} or more of the {limit} inotify watches that you may have",
            f"`sysctl -w {setting}`, and `{setting}` in /etc/sysctl.d/isod.conf; NixOS: "
            f'boot.kernel.sysctl."fs.inotify.max_user_watches" = {proper};',
        )


@check("forward-dropped", "nothing in a container with a network of its own reaches more than this host")
def forward_dropped(host: Host) -> Iterator[Problem]:
    """Report a firewall that forwards nothing of containers, as docker and ufw leave it."""
    if host.forwarding_closed_by:
        yield Problem(
            f"{host.forwarding_closed_by} drops what containers send to others",
            "`iptables -I FORWARD -i ve-+ -j ACCEPT && iptables -I FORWARD -o ve-+ -m conntrack --ctstate "
            "RELATED,ESTABLISHED -j ACCEPT`, with docker in its chain DOCKER-USER, which it leaves alone; NixOS: "
            "networking.firewall.extraForwardRules, or betterContainers, which has them",
        )
