"""Make the containers' roots: a few hundred small files each, since /usr is the lab host's, bound read-only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from lab.containers import Container
from lab.hostfiles import choose_bus, link, mask, write

IDEA_BIN = "/opt/idea/bin"

_DIRS = (
    "usr dev proc sys run tmp mnt srv boot opt home root etc var/lib/dbus var/lib/systemd var/log/journal "
    "var/tmp var/cache var/spool"
).split()

_MASKED = (
    "systemd-logind-varlink.socket systemd-hostnamed.socket systemd-sysext.socket systemd-creds.socket "
    "systemd-bootctl.socket systemd-journald-audit.socket systemd-udevd.service systemd-udev-trigger.service "
    "systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-machined.service machines.target "
    "remote-fs.target timers.target dbus-broker.service systemd-networkd-persistent-storage.service "
    # a handful of mounts at once makes PID 1 pause for a second (its rate limit on mount events)
    "dev-hugepages.mount dev-mqueue.mount run-lock.mount sys-fs-fuse-connections.mount tmp.mount "
    "systemd-remount-fs.service var-lib-machines.mount "
    "polkit.service systemd-tpm2-setup.service systemd-tpm2-setup-early.service systemd-machine-id-commit.service"
).split()

_NOT_COPIED = ("isod", "nixos-containers", "nspawn", "apt", "dpkg", "init.d", "udev", "python3", "python3.13")

_IDEA = """#!/bin/sh
# stands in for a program that only the login shell's PATH leads to
echo "idea-community args=$*"
for name in DISPLAY WAYLAND_DISPLAY XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS HOME PATH; do
    eval "echo \\"$name=\\${$name-}\\""
done
"""

_DELAY_UNIT = """[Unit]
Description=Hold the bus back for as long as /etc/lab-bus-delay says
DefaultDependencies=no
Before=dbus.socket dbus.service
[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=infinity
ExecStart=/bin/sh -c 'exec sleep "$(cat /etc/lab-bus-delay)"'
"""


def make_all(host_root: Path, containers: Iterable[Container]) -> None:
    """Make every container's root under /var/lib/machines of the lab host."""
    machines = host_root / "var/lib/machines"
    template = machines / ".template"
    _make_template(host_root, template)
    for container in containers:
        destination = machines / container.name
        subprocess.run(["cp", "-a", "--reflink=auto", str(template), str(destination)], check=True)
        _make_special(destination, container)
    shutil.rmtree(template)


def _make_template(host_root: Path, root: Path) -> None:
    for directory in _DIRS:
        (root / directory).mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    (root / "tmp").chmod(0o1777)
    (root / "var/tmp").chmod(0o1777)
    (root / "root").chmod(0o700)
    for name in ("bin", "sbin", "lib", "lib64"):
        link(root / name, f"usr/{name}")
    link(root / "var/run", "/run")
    shutil.rmtree(root / "etc")
    shutil.copytree(host_root / "etc", root / "etc", symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    _restore_owners(host_root / "etc", root / "etc")
    _make_etc(root)
    _make_accounts(root)
    _make_idea(root)


def _restore_owners(source: Path, copy: Path) -> None:
    # copytree keeps modes but not owners; shadow must stay root:shadow
    for path in copy.rglob("*"):
        status = (source / path.relative_to(copy)).lstat()
        if (status.st_uid, status.st_gid) != (0, 0):
            os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
            if not path.is_symlink():
                path.chmod(status.st_mode & 0o7777)


def _make_etc(root: Path) -> None:
    etc = root / "etc"
    shutil.rmtree(etc / "systemd/system")
    shutil.rmtree(etc / "systemd/user", ignore_errors=True)
    shutil.rmtree(etc / "systemd/journald.conf.d", ignore_errors=True)
    write(etc / "hostname", "")
    write(etc / "machine-id", "")
    write(etc / "resolv.conf", "")
    # systemd-nspawn looks for it before it binds /usr, so no symlink to there
    (etc / "os-release").unlink()
    shutil.copy(root.parents[3] / "usr/lib/os-release", etc / "os-release")
    link(etc / "mtab", "../proc/self/mounts")
    link(etc / "systemd/system/default.target", "/usr/lib/systemd/system/multi-user.target")
    for unit in Path(root.parents[3] / "etc/systemd/system").iterdir():
        if unit.is_symlink() and os.readlink(unit) == "/dev/null":
            link(etc / "systemd/system" / unit.name, "/dev/null")
    mask(root, _MASKED)
    choose_bus(root, "dbus-daemon")
    # says that /etc and /var are as new as /usr: no catalog to rebuild, no system users to make
    for directory in ("etc", "var"):
        write(root / directory / ".updated", "")
    link(
        etc / "systemd/system/multi-user.target.wants/systemd-logind.service",
        "/usr/lib/systemd/system/systemd-logind.service",
    )
    # what Debian's package enables for users: the session bus comes with the user manager
    link(etc / "systemd/user/sockets.target.wants/dbus.socket", "/usr/lib/systemd/user/dbus.socket")


def _drop_account(root: Path, user: str) -> None:
    for name in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid"):
        path = root / "etc" / name
        kept = [line for line in path.read_text().splitlines(True) if not line.startswith(user + ":")]
        path.write_text("".join(kept))


def _add_account(root: Path, user: str, uid: int, shell: str) -> None:
    entries = {
        "passwd": f"{user}:x:{uid}:{uid}::/home/{user}:{shell}\n",
        "shadow": f"{user}:!:20000:0:99999:7:::\n",
        "group": f"{user}:x:{uid}:\n",
        "gshadow": f"{user}:!::\n",
    }
    for name, line in entries.items():
        with (root / "etc" / name).open("a") as file:
            file.write(line)
    _make_home(root, user, uid)


def _make_home(root: Path, user: str, uid: int) -> None:
    home = root / "home" / user
    home.mkdir(mode=0o700)
    for name in (".bashrc", ".profile"):
        skeleton = root / "etc/skel" / name
        if skeleton.exists():
            shutil.copy(skeleton, home / name)
            os.chown(home / name, uid, uid)
    os.chown(home, uid, uid)


def _make_accounts(root: Path) -> None:
    _drop_account(root, "mallory")
    for user, uid in (("alice", 1000), ("bob", 1001), ("carol", 1003)):
        _make_home(root, user, uid)


def _make_idea(root: Path) -> None:
    write(root / IDEA_BIN.lstrip("/") / "idea-community", _IDEA, mode=0o755)
    write(root / "etc/profile.d/idea.sh", f'PATH="$PATH:{IDEA_BIN}"\nexport PATH\n')
    write(root / "etc/fish/conf.d/idea.fish", f"status is-login; and set -gx PATH $PATH {IDEA_BIN}\n")
    with (root / "etc/zsh/zprofile").open("a") as file:
        file.write(f'\nexport PATH="$PATH:{IDEA_BIN}"\n')


def _make_special(root: Path, container: Container) -> None:
    write(root / "etc/hostname", container.name + "\n")
    write(root / "etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {container.name}\n")
    mask(root, container.masked)
    if container.bus_program == "dbus-broker":
        (root / "etc/systemd/system/dbus-broker.service").unlink()
        choose_bus(root, "dbus-broker")
    for number, (user, shell) in enumerate(container.accounts.items()):
        _add_account(root, user, 1101 + number, shell)
    if container.bus_delay_sec:
        write(root / "etc/lab-bus-delay", f"{container.bus_delay_sec}\n")
        write(root / "etc/systemd/system/lab-bus-delay.service", _DELAY_UNIT)
        link(
            root / "etc/systemd/system/dbus.socket.requires/lab-bus-delay.service",
            "/etc/systemd/system/lab-bus-delay.service",
        )
    if container.name == "nixlike":
        for kind in ("profiles", "gcroots"):
            (root / "nix/var/nix" / kind).mkdir(parents=True)
