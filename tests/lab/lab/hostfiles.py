"""Write what makes the bare tree this lab's host: units, policies, users' sessions, the chosen bus."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from lab.containers import Container, drop_in_text, nspawn_text, plain_unit_text, policy_text
from lab.tree import USERS

EXEC_UNIT = "lab-exec.service"

_MASKED = (
    "getty.target systemd-firstboot.service systemd-random-seed.service systemd-journal-flush.service "
    "systemd-update-utmp.service systemd-pcrphase.service apt-daily.timer apt-daily-upgrade.timer "
    "dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-networkd.service "
    "systemd-networkd.socket systemd-resolved.service systemd-timesyncd.service ldconfig.service "
    "console-getty.service systemd-tmpfiles-clean.timer systemd-hwdb-update.service "
    "systemd-networkd-wait-online.service"
).split()


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def link(path: Path, target: str) -> None:
    """Make path a symlink to target, whatever was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def mask(root: Path, units: tuple[str, ...] | list[str]) -> None:
    """Mask system units in the tree at root."""
    for unit in units:
        link(root / "etc/systemd/system" / unit, "/dev/null")


def choose_bus(root: Path, bus: str) -> None:
    """Make dbus-daemon or dbus-broker the bus of the system and of every user."""
    for scope in ("system", "user"):
        alias = root / "etc/systemd" / scope / "dbus.service"
        alias.unlink(missing_ok=True)
        if bus == "dbus-broker":
            link(alias, f"/usr/lib/systemd/{scope}/dbus-broker.service")
        elif bus != "dbus-daemon":
            raise ValueError(f"no such bus: {bus}")


def write_host(root: Path, name: str, bus: str) -> None:
    """Everything on the lab host but what has to do with containers."""
    etc = root / "etc"
    units = etc / "systemd/system"
    write(etc / "hostname", name + "\n")
    write(etc / "hosts", f"127.0.0.1 localhost {name}\n")
    write(etc / "machine-id", "")
    write(etc / "locale.conf", "LANG=C.UTF-8\n")
    write(etc / "fstab", "")
    # it must not need a disk; its rate limits are those of every host
    write(etc / "systemd/journald.conf.d/lab.conf", "[Journal]\nStorage=volatile\n")
    choose_bus(root, bus)
    link(units / "default.target", "/usr/lib/systemd/system/multi-user.target")
    mask(root, _MASKED)
    sessions = " ".join(f"user@{uid}.service" for uid in USERS.values())
    write(
        units / "multi-user.target.d/lab.conf",
        f"[Unit]\nWants={sessions} {EXEC_UNIT}\nAfter={sessions} {EXEC_UNIT}\n",
    )
    # processes that a test starts as root need a unit of their own to be in
    write(
        units / EXEC_UNIT,
        "[Unit]\nDescription=Commands run by the lab\nDefaultDependencies=no\n"
        "[Service]\nExecStart=sleep infinity\nDelegate=yes\nDelegateSubgroup=main\n",
    )


def write_containers(root: Path, containers: Iterable[Container]) -> None:
    """Settings and policies of these containers; the unit that runs them is the product's own."""
    etc = root / "etc"
    units = etc / "systemd/system"
    write(units / "plain-container.service", plain_unit_text())
    write(etc / "isod/isod.toml", "")
    for container in containers:
        if container.name == "nixlike":
            _write_nix(root)
        _write_container(etc, units, container)


def _write_nix(root: Path) -> None:
    write(root / "etc/nixos-containers/nixlike.conf", "PRIVATE_NETWORK=0\nPRIVATE_USERS=no\n")
    for kind in ("profiles", "gcroots"):
        (root / "nix/var/nix" / kind / "per-container/nixlike").mkdir(parents=True)


def _write_container(etc: Path, units: Path, container: Container) -> None:
    if container.has_policy:
        write(etc / f"isod/containers/{container.name}.toml", policy_text(container))
    if container.name != "plain":
        write(etc / f"systemd/nspawn/{container.name}.nspawn", nspawn_text(container))
    if text := drop_in_text(container):
        write(units / f"container@{container.name}.service.d/lab.conf", text)


def remove_tree(path: Path) -> None:
    """Remove a directory of ours, present or not."""
    shutil.rmtree(path, ignore_errors=True)
