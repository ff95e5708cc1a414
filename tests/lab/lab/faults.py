"""Ways to break a lab's host, each with the finding of `isoctl doctor` for it and with who applies the fix, and how."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from isod_contract.names import BUS_NAME
from lab.changes import kept
from lab.product import repository

if TYPE_CHECKING:
    from lab.machine import Lab

UNITS = "/etc/systemd/system"
BUS_POLICY = f"/usr/share/dbus-1/system.d/{BUS_NAME}.conf"
ASIDE = "/usr/share/dbus-1/kept-by-the-test"
INSTANCES = "/proc/sys/fs/inotify/max_user_instances"

Planted = Callable[["Lab"], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """One way to break the lab: what it does, the finding for it, where that shows, and who applies the fix how."""

    code: str
    planted: Planted
    where: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    # for a fix that a person reads; otherwise its first command is run
    mend: Callable[[Lab, str], None] | None = None


def command_in(fix: str) -> str:
    """The first thing in a fix that stands between backticks: what to type, or the line to write."""
    (command, *_) = re.findall(r"`([^`]+)`", fix)
    return str(command)


def drop_in(unit: str, *lines: str, restart: str = "", stop: str = "") -> Planted:
    """Settings of the administrator's own for a unit, with what fixes add to them."""

    @contextmanager
    def planted(lab: Lab) -> Iterator[None]:
        directory = lab.host_path(f"{UNITS}/{unit}.d")
        made = not directory.exists()
        directory.mkdir(exist_ok=True)
        path = directory / "zz-test.conf"
        path.write_text("\n".join(("[Service]", *lines, "")))
        lab.run("systemctl", "daemon-reload")
        if restart:
            lab.run("systemctl", "restart", unit)
            lab.run("isoctl", "start", restart)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if made:
                directory.rmdir()
            lab.run("rm", "-rf", f"/etc/systemd/system.control/{unit}.d")
            lab.run("systemctl", "daemon-reload")
            if restart:
                lab.run("systemctl", "restart", unit)

    return planted


@contextmanager
def isod_is_masked(lab: Lab) -> Iterator[None]:
    lab.run("systemctl", "mask", "--now", "isod.service")
    try:
        yield
    finally:
        lab.run("systemctl", "unmask", "isod.service")
        lab.run("systemctl", "enable", "--now", "isod.service")


@contextmanager
def bus_policy_is_gone(lab: Lab) -> Iterator[None]:
    lab.run("mv", BUS_POLICY, ASIDE)
    try:
        # A reload of dbus-daemon was seen to hang until systemd gave it up after 90 s.
        lab.run("systemctl", "reload", "dbus")
        yield
    finally:
        lab.run("sh", "-c", f"test ! -e {ASIDE} || mv {ASIDE} {BUS_POLICY}")
        lab.run("systemctl", "reload", "dbus")


def install_the_bus_policy(lab: Lab, fix: str) -> None:
    assert "`make install`" in fix
    lab.run("mv", ASIDE, BUS_POLICY)
    lab.run("systemctl", "reload", "dbus")


@contextmanager
def bus_policy_is_not_loaded(lab: Lab) -> Iterator[None]:
    """Mounts tell dbus-daemon nothing, while a changed file makes it read all of them again."""
    empty = lab.host_path("/run/lab-empty.conf")
    empty.write_text("<busconfig/>\n")
    lab.run("mount", "--bind", "/run/lab-empty.conf", BUS_POLICY)
    try:
        lab.run("systemctl", "reload", "dbus")
    finally:
        lab.run("umount", BUS_POLICY)
    try:
        yield
    finally:
        lab.run("systemctl", "reload", "dbus")
        empty.unlink()


@contextmanager
def helper_is_stopped(lab: Lab) -> Iterator[None]:
    lab.run("systemctl", "stop", "isod-helper.socket", "isod-helper-mount.socket")
    try:
        yield
    finally:
        lab.run("systemctl", "start", "isod-helper.socket", "isod-helper-mount.socket")
        lab.run("systemctl", "disable", "isod-helper-mount.socket", check=False)


@contextmanager
def a_unit_file_changed(lab: Lab) -> Iterator[None]:
    lab.host_path("/usr/lib/systemd/system/isod.service").touch()
    yield
    lab.run("systemctl", "daemon-reload")


@contextmanager
def drop_in_is_gone(lab: Lab) -> Iterator[None]:
    path = "/usr/lib/systemd/system/container@.service.d/50-isod.conf"
    with kept(lab, path):
        lab.host_path(path).unlink()
        lab.run("systemctl", "daemon-reload")
        yield
    lab.run("systemctl", "daemon-reload")


def install_the_drop_in(lab: Lab, fix: str) -> None:
    """The same file again, as `make install` would bring it."""
    text = (repository() / "systemd-units/container@.service.d/50-isod.conf").read_text()
    path = lab.host_path("/usr/lib/systemd/system/container@.service.d/50-isod.conf")
    path.write_text(text.replace("@libexecdir@", "/usr/libexec"))
    lab.run("sh", "-c", command_in(fix))


def masked(unit: str) -> Planted:
    @contextmanager
    def planted(lab: Lab) -> Iterator[None]:
        lab.run("systemctl", "mask", "--now", unit)
        try:
            yield
        finally:
            lab.run("systemctl", "unmask", unit)

    return planted


@contextmanager
def few_inotify_instances(lab: Lab) -> Iterator[None]:
    """Not the real bound, which is the whole machine's: a file over it, which sysctl(8) writes just so."""
    bound = lab.host_path("/run/lab-instances")
    bound.write_text("16\n")
    lab.run("mount", "--bind", "/run/lab-instances", INSTANCES)
    try:
        assert lab.run("cat", INSTANCES).stdout == "16\n"
        yield
    finally:
        lab.run("umount", INSTANCES)
        bound.unlink()


@contextmanager
def policy_is_broken(lab: Lab) -> Iterator[None]:
    with kept(lab, "/etc/isod/containers/blog.toml"):
        lab.host_path("/etc/isod/containers/blog.toml").write_text('users = ["alice"]\nuser = 7\n')
        yield
    lab.run("isoctl", "reload")


def correct_the_policy(lab: Lab, fix: str) -> None:
    lab.host_path("/etc/isod/containers/blog.toml").write_text('users = ["alice"]\n')
    lab.run("sh", "-c", command_in(fix))


@contextmanager
def policy_names_nobody(lab: Lab) -> Iterator[None]:
    with kept(lab, "/etc/isod/containers/blog.toml"):
        lab.host_path("/etc/isod/containers/blog.toml").write_text('users = ["alice", "alcie"]\n')
        lab.run("isoctl", "reload")
        yield
    lab.run("isoctl", "reload")


@contextmanager
def policy_changed(lab: Lab) -> Iterator[None]:
    with kept(lab, "/etc/isod/containers/blog.toml"):
        lab.host_path("/etc/isod/containers/blog.toml").write_text('users = ["alice"]\nstop_timeout_sec = 11\n')
        yield
    lab.run("isoctl", "reload")


@contextmanager
def isod_was_updated(lab: Lab) -> Iterator[None]:
    """The files are new, and the isod that runs is the old one."""
    paths = ("/usr/lib/isoctl/isod_contract/__init__.py", "/usr/lib/isoctl/isoctl/contract_generated.py")
    with kept(lab, *paths):
        for path in paths:
            file = lab.host_path(path)
            file.write_text(re.sub(r'^VERSION = ".*"', 'VERSION = "9.9.9"', file.read_text(), flags=re.MULTILINE))
        yield
    lab.run("systemctl", "restart", "isod")


OF_THE_HOST = (
    Fault("isod-missing", isod_is_masked),
    Fault("bus-policy-missing", bus_policy_is_gone, mend=install_the_bus_policy),
    Fault("bus-policy-not-loaded", bus_policy_is_not_loaded),
    Fault("helper-stopped", helper_is_stopped),
    Fault("units-stale", a_unit_file_changed),
    Fault("drop-in-missing", drop_in_is_gone, mend=install_the_drop_in),
    Fault("machined-missing", masked("systemd-machined.service")),
    Fault("polkit-missing", masked("polkit.service")),
    Fault("inotify-instances", few_inotify_instances),
    Fault("policy-refused", policy_is_broken, mend=correct_the_policy),
    Fault("policy-stale", policy_changed),
    Fault("policy-no-account", policy_names_nobody, mend=correct_the_policy),
    Fault("isod-other-version", isod_was_updated),
)
