"""Ways to break a container of a lab, as in lab.faults."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from lab.changes import kept
from lab.faults import UNITS, Fault, Planted, command_in, drop_in
from lab.policies import added_policy

if TYPE_CHECKING:
    from lab.machine import Lab

TABLES = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")


def inside(container: str, *paths: str) -> tuple[str, ...]:
    """Where files of a container are on the host."""
    return tuple(f"/var/lib/machines/{container}{path}" for path in paths)


def edited(container: str, path: str, pattern: str, replacement: str, *also: str) -> Planted:
    """A file of a running container that was changed by a pattern; it and others are put back."""

    @contextmanager
    def planted(lab: Lab) -> Iterator[None]:
        files = inside(container, path, *also)
        with kept(lab, *files):
            file = lab.host_path(files[0])
            changed, count = re.subn(pattern, replacement, file.read_text(), flags=re.MULTILINE)
            assert count
            file.write_text(changed)
            yield

    return planted


def remove_the_line(unit: str) -> Callable[[Lab, str], None]:
    """Do what a fix says to do by hand in the unit's settings, then run the last command that it names."""

    def mend(lab: Lab, fix: str) -> None:
        lab.host_path(f"{UNITS}/{unit}.d/zz-test.conf").write_text("")
        lab.run("systemctl", "daemon-reload")
        for command in re.findall(r"`(isoctl [^`]+)`", fix):
            lab.run("sh", "-c", command)

    return mend


@contextmanager
def account_is_gone(lab: Lab) -> Iterator[None]:
    """As if nobody had made it; its home stays."""
    files = inside("net", *TABLES)
    with kept(lab, *files):
        lab.run("sed", "-i", "/^alice:/d", *files)
        yield


@contextmanager
def localtime_is_gone(lab: Lab) -> Iterator[None]:
    lab.in_container("blog", "mv", "/etc/localtime", "/etc/localtime.kept")
    try:
        yield
    finally:
        lab.in_container("blog", "mv", "-f", "/etc/localtime.kept", "/etc/localtime")


@contextmanager
def logind_is_masked(lab: Lab) -> Iterator[None]:
    """The lab's nologind as it is; what mends it is undone."""
    try:
        yield
    finally:
        units = ("systemd-logind.service", "dbus-org.freedesktop.login1.service")
        lab.in_container("nologind", "systemctl", "mask", *units)


@contextmanager
def dbus_is_masked(lab: Lab) -> Iterator[None]:
    """The lab's nodbus as it is, after somebody tried to use it."""
    lab.run("isoctl", "start", "nodbus", check=False)
    try:
        yield
    finally:
        lab.in_container("nodbus", "systemctl", "mask", "dbus.service", "dbus.socket")
        lab.stop_container("nodbus")


@contextmanager
def root_is_full(lab: Lab) -> Iterator[None]:
    """A container on a small file system of its own."""
    root = "/var/lib/machines/broker"
    lab.stop_container("broker")
    script = f"mount -t tmpfs -o size=256M lab-small /mnt && cp -a {root}/. /mnt && mount --bind /mnt {root}"
    lab.run("sh", "-c", f"{script}; umount /mnt")
    try:
        lab.run("isoctl", "start", "broker")
        free = lab.run("stat", "-fc", "%a*%S", root).stdout
        blocks, size = (int(word) for word in free.split("*"))
        lab.run("sh", "-c", f"head -c {blocks * size - (4 << 20)} /dev/zero > {root}/var/large")
        yield
    finally:
        lab.stop_container("broker")
        lab.run("umount", root)


def remove_what_is_large(lab: Lab, fix: str) -> None:
    assert "/var" in lab.run("sh", "-c", command_in(fix)).stdout
    lab.run("rm", "/var/lib/machines/broker/var/large")


@contextmanager
def no_network_manager(lab: Lab) -> Iterator[None]:
    """Deb has the veth that Debian's stock unit gives, and the lab no networkd until a test unmasks it."""
    unit = "systemd-networkd.service"
    lab.run("systemctl", "unmask", unit)
    lab.in_container("deb", "systemctl", "unmask", unit)
    # What networkd is told of name servers it tells resolved, which the lab has not.
    lab.in_container("deb", "sh", "-c", "echo nameserver 192.0.2.53 > /etc/resolv.conf")
    try:
        yield
    finally:
        lab.in_container("deb", "systemctl", "disable", "--now", unit, check=False)
        lab.in_container("deb", "systemctl", "mask", unit)
        lab.run("systemctl", "disable", "--now", unit, check=False)
        lab.run("systemctl", "mask", unit)


def gpu_is_granted(lab: Lab) -> AbstractContextManager[None]:
    """The lab without a desktop has no Mesa, and its containers share its /usr."""
    return added_policy(lab, "net", "[grants]", 'gpu = "render"')


def bring_drivers(lab: Lab, fix: str) -> None:
    """What the option of NixOS makes of the container, whose name the fix has too."""
    assert "hardware.graphics.enable = true;" in fix
    lab.in_container("net", "mkdir", "-p", "/run/opengl-driver/lib/dri")


def set_in_the_policy(container: str) -> Callable[[Lab, str], None]:
    """Write the line that a fix names into the container's policy."""

    def mend(lab: Lab, fix: str) -> None:
        path = f"/etc/isod/containers/{container}.toml"
        assert path in fix
        file = lab.host_path(path)
        file.write_text(f"{file.read_text()}{command_in(fix)}\n")
        lab.run("isoctl", "reload")

    return mend


@contextmanager
def as_it_is(lab: Lab) -> Iterator[None]:
    with kept(lab, "/etc/isod/containers/blog.toml"):
        yield
    lab.run("isoctl", "reload")


BLOG, PRIV = "container@blog.service", "container@priv.service"
OF_A_CONTAINER = (
    Fault("account-missing", account_is_gone, ("net",)),
    Fault("account-uid", edited("net", "/etc/passwd", "^alice:x:1000:", "alice:x:1500:", *TABLES[1:]), ("net",)),
    Fault("account-of-another", edited("net", "/etc/passwd", "^alice:x:1000:", "alice:x:1001:"), ("net",)),
    Fault("account-groups", edited("net", "/etc/group", "^(sudo|wheel):.*$", r"\g<0>alice", *TABLES), ("net",)),
    Fault("dbus-missing", dbus_is_masked, ("nodbus",)),
    Fault("logind-missing", logind_is_masked, ("nologind",)),
    Fault("localtime-missing", localtime_is_gone, ("blog",)),
    Fault("locale-missing", as_it_is, ("blog",), {"LANG": "de_DE.UTF-8"}, set_in_the_policy("blog")),
    Fault("disk-full", root_is_full, ("broker",), mend=remove_what_is_large),
    Fault("driver-missing", gpu_is_granted, ("net",), mend=bring_drivers),
    Fault("device-policy", drop_in(BLOG, "DevicePolicy=auto"), ("blog",)),
    Fault("device-allow", drop_in(BLOG, "DeviceAllow=char-input rw"), ("blog",), mend=remove_the_line(BLOG)),
    Fault("device-tun", drop_in(PRIV, "DeviceAllow=", "DeviceAllow=char-pts rw"), ("priv",)),
    Fault(
        "bind-unsafe",
        drop_in(BLOG, "Environment='EXTRA_NSPAWN_FLAGS=--bind-ro=/usr --bind=/tmp/.X11-unix'", restart="blog"),
        ("blog",),
        mend=remove_the_line(BLOG),
    ),
    Fault("network-no-address", no_network_manager, ("deb",)),
)
