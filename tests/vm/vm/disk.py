"""Make the virtual machine's disk: the lab's host, with a kernel of its own and a way in by ssh.

Run as a program in a mount namespace of its own, it writes the file system that its argument, a plan, describes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.containers import BY_NAME
from lab.hostfiles import link, write, write_host
from lab.product import repository
from lab.stage import furnish, mount, mount_copy
from lab.tree import USERS, host_tree

TREE = "vm"
HOST_NAME = "vmhost"
ADDRESS = "10.0.2.15/24"  # what qemu's own network forwards connections to

# With the static binds and without, with a user namespace and without.
CONTAINERS = ("blog", "plain", "priv", "deb")

_SIZE = "4G"
_NETWORK_UNIT = f"""[Unit]
Description=The address that ssh from outside comes to
Requires=sys-subsystem-net-devices-eth0.device
After=sys-subsystem-net-devices-eth0.device
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip address add {ADDRESS} dev eth0
ExecStart=ip link set eth0 up
"""
_KEYS = "/etc/ssh/lab_keys"
_SSHD = f"AuthorizedKeysFile {_KEYS}\nMaxSessions 100\nUseDNS no\n"


@dataclass(frozen=True)
class Plan:
    """What one disk is made of; travels to the program as JSON."""

    tree: str
    run_dir: str
    key: str  # the public key of who may log in, as root and as each user

    @property
    def image(self) -> Path:
        """The file that becomes the disk."""
        return Path(self.run_dir) / "disk"


def make(run_dir: Path, public_key: str) -> Path:
    """Make a disk below the run directory, and give its file."""
    plan = Plan(str(host_tree(TREE)), str(run_dir), public_key)
    packages = (str(repository() / "tests" / name) for name in ("vm", "lab"))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = ["unshare", "-m", sys.executable, "-m", "vm.disk", json.dumps(asdict(plan))]
    subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, check=True)
    return plan.image


def boot_files() -> tuple[Path, Path]:
    """The kernel and its initial RAM disk."""
    boot = host_tree(TREE) / "boot"
    (kernel,), (initrd,) = boot.glob("vmlinuz-*"), boot.glob("initrd.img-*")
    return kernel, initrd


def _write_way_in(root: Path, public_key: str) -> None:
    units = root / "etc/systemd/system"
    write(units / "lab-network.service", _NETWORK_UNIT)
    for unit in ("lab-network.service", "ssh.service"):
        place = f"/etc/systemd/system/{unit}" if unit.startswith("lab") else f"/usr/lib/systemd/system/{unit}"
        link(units / "multi-user.target.wants" / unit, place)
    write(root / "etc/ssh/sshd_config.d/lab.conf", _SSHD)
    write(root / _KEYS.lstrip("/"), public_key)
    # the users log in, so that they need no session that is there without one
    for user in USERS:
        (root / "var/lib/systemd/linger" / user).unlink()
    (units / "multi-user.target.d/lab.conf").unlink()


def main() -> None:
    """Put the host's root together and write it to the disk."""
    plan = Plan(**json.loads(sys.argv[1]))
    mount("--make-rprivate", "/")
    memory = Path(plan.run_dir) / "memory"
    memory.mkdir()
    mount("-t", "tmpfs", "-o", "mode=755", "lab", str(memory))
    root = memory / "root"
    root.mkdir()
    mount_copy(Path(plan.tree), memory, root)
    write_host(root, HOST_NAME, "dbus-daemon")
    _write_way_in(root, plan.key)
    furnish(root, repository(), [BY_NAME[name] for name in CONTAINERS])
    # without a journal: the disk is thrown away
    make_file_system = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", str(root), str(plan.image), _SIZE]
    subprocess.run(make_file_system, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()
