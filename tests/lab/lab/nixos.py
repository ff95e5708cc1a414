"""Lay out a container on a running lab host as NixOS does: a shared store, NAME.conf, the start script, stage 2.

What NixOS's own evaluation would give comes from nix/tests (unit, .conf, scripts, policy, tmpfiles rules); the store's
packages lead to the lab host's /usr. As on NixOS, systemd's default path leads to its own programs only.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.hostfiles import link, write
from lab.machine import Lab

# Beside the store, and bound into the container by a flag of the test's: a store with a mount of its own below can't be
# bound with its owners mapped, and no real one has one.
USR_FLAG = "--bind-ro=/lab/usr"
# What NixOS's systemd finds by itself is the bin of its own package, and that of dbus by path.
_SYSTEMD = (
    "systemd*",
    "journalctl",
    "systemctl",
    "loginctl",
    "udevadm",
    "busctl",
    "hostnamectl",
    "dbus-*",
    "mount",
    "umount",
)

_STAGE_2 = """\
# Sourced by container-init, as NixOS's stage 2 is; what follows is its activation.
mkdir -p /usr/lib /usr/share /usr/sbin /usr/bin /home /var/log/journal /var/lib/systemd
mount --bind /lab/usr/lib /usr/lib
mount --bind /lab/usr/share /usr/share
mount --bind {system}/systemd-bin /usr/bin
ln -sfn /lab/usr/sbin/unix_chkpwd /usr/sbin/unix_chkpwd
ln -sfn {system} /run/current-system
cp -a {system}/etc/. /etc/
install -d -m 1777 /tmp /var/tmp
for user in {users}; do install -d -o "$user" -g "$user" -m 700 "/home/$user"; done
unset PATH
exec /lib/systemd/systemd
"""
_SET_ENVIRONMENT = """\
export PATH=/run/wrappers/bin:/etc/profiles/per-user/$USER/bin:/run/current-system/sw/bin
{variables}
"""


@dataclass(frozen=True)
class Evaluated:
    """One container of an evaluated host, as nix/tests/system.nix gives it."""

    name: str
    unit: str
    conf: str
    policy: str
    files: Mapping[str, str]
    packages: Mapping[str, str]
    system: str
    tmpfiles: Sequence[str]
    variables: Mapping[str, str]
    users: Sequence[str]
    units: Mapping[str, str] = field(default_factory=dict)


def install(lab: Lab, container: Evaluated) -> None:
    """Write everything and have systemd and isod read it."""
    root = lab.root
    _store(lab, container)
    _system(root, container)
    # What nix-ld leaves there: Debian's programs want their loader where Debian has it.
    container_root = root / "var/lib/nixos-containers" / container.name
    for name in ("lib", "lib64"):
        link(container_root / name, f"/lab/usr/{name}")
    for directory in ("db", "daemon-socket", "profiles/per-container", "gcroots/per-container"):
        (root / "nix/var/nix" / directory).mkdir(parents=True, exist_ok=True)
    write(root / "nix/var/nix/daemon-socket/socket", "")
    write(root / f"etc/systemd/system/container@{container.name}.service", container.unit)
    write(root / f"etc/nixos-containers/{container.name}.conf", container.conf)
    write(root / f"etc/isod/containers/{container.name}.toml", container.policy)
    lab.run("systemctl", "daemon-reload")


def _store(lab: Lab, container: Evaluated) -> None:
    root = lab.root
    if not (root / "lab").exists():
        # Owners can be mapped there, as on usual file systems, but not on the lab's overlay.
        script = (
            "mkdir /lab && mount -t tmpfs -o mode=755 lab /lab && mkdir /lab/usr /lab/nix /lab/containers && "
            "mkdir -p /nix /var/lib/nixos-containers && cp -a /nix/. /lab/nix && mount --bind /lab/nix /nix && "
            "mount --bind /lab/containers /var/lib/nixos-containers && mount --bind /usr /lab/usr"
        )
        lab.run("sh", "-c", script)
    for path in container.packages.values():
        link(root / path.lstrip("/") / "bin", "/lab/usr/bin")
    for path, text in container.files.items():
        # "#! /nix/store/...": both spellings are NixOS's.
        write(root / path.lstrip("/"), text, mode=0o755)


def _system(root: Path, container: Evaluated) -> None:
    system = root / container.system.lstrip("/")
    write(system / "init", _STAGE_2.format(system=container.system, users=" ".join(container.users)))
    write(system / "system", "x86_64-linux")
    link(system / "sw/bin", "/lab/usr/bin")
    entry = "/nix/store/00000000000000000000000000000000-idea/share/applications/idea.desktop"
    write(root / entry.lstrip("/"), "[Desktop Entry]\nType=Application\nName=IDEA\nExec=idea-community %f\n")
    link(system / "sw/share/applications/idea.desktop", entry)
    bins = system / "systemd-bin"
    bins.mkdir()
    # All else that NixOS has at a place that is not its own.
    link(bins / "env", "/lab/usr/bin/env")
    link(bins / "sh", "/lab/usr/bin/bash")
    for pattern in _SYSTEMD:
        for program in (root / "usr/bin").glob(pattern):
            link(bins / program.name, f"/lab/usr/bin/{program.name}")
    _etc(root, system / "etc", container)


def _etc(root: Path, etc: Path, container: Evaluated) -> None:
    """Debian's own for PAM, D-Bus and the like; NixOS's for what isod and its users meet."""
    shutil.copytree(root / "var/lib/machines/blog/etc", etc, symlinks=True)
    for name in ("machine-id", "hostname", "resolv.conf", "os-release", "localtime", "profile.d/idea.sh"):
        (etc / name).unlink(missing_ok=True)
    passwd = (etc / "passwd").read_text()
    write(etc / "passwd", passwd.replace(":/bin/bash", ":/run/current-system/sw/bin/bash"))
    exports = "\n".join(f"export {name}={value!r}" for name, value in container.variables.items())
    write(etc / "set-environment", _SET_ENVIRONMENT.format(variables=exports))
    write(etc / "profile", ". /etc/set-environment\n")
    # nixos/modules/config/networking.nix; the lab has no nss-myhostname, which NixOS has too
    write(etc / "hosts", f"127.0.0.1 localhost\n127.0.0.2 {container.name}\n")
    write(etc / "tmpfiles.d/00-nixos.conf", "".join(f"{rule}\n" for rule in container.tmpfiles))
    for name, text in container.units.items():
        write(etc / "systemd/system" / name, text)
        link(etc / "systemd/system/multi-user.target.wants" / name, f"/etc/systemd/system/{name}")
