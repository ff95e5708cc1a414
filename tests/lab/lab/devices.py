"""Devices that the lab's machine does not have: entries in a copy of sysfs, real nodes, real uevents to the real udevd.

Behind a node stands a misc device that any machine has and that no container may open by default.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lab.hostfiles import write
from lab.machine import Lab

HWRNG = (10, 183)
FUSE = (10, 229)
PCI = "0000:00:02.0"
_OVERLAY = """
set -e
base=/run/lab-sysfs
mkdir -p $base; mount -t tmpfs lab-sysfs $base
for part in class devices dev; do
    mkdir $base/$part.upper $base/$part.work
    mount -t overlay -o lowerdir=/sys/$part,upperdir=$base/$part.upper,workdir=$base/$part.work lab-sysfs /sys/$part
done
"""
# Sends a uevent into the lab's network namespace, by the kernel: udevd takes it for one of a driver's.
_INJECT = """
import socket, struct, sys, time
uevents = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)
uevents.bind((0, 0))
for line in sys.stdin:
    body = line.strip().replace(";", chr(0)).encode() + bytes(1)
    print(time.monotonic())
    uevents.send(struct.pack("=IHHII", 16 + len(body), 16, 1 | 4, 1, 0) + body)
    assert not struct.unpack_from("=i", uevents.recv(4096), 16)[0]
"""


@dataclass(frozen=True)
class Card:
    """One entry of /sys/class/drm."""

    name: str = "renderD128"
    pci: str = PCI
    number: tuple[int, int] = HWRNG

    @property
    def node(self) -> str:
        """Its path on the host."""
        return f"/dev/dri/{self.name}"

    @property
    def device(self) -> str:
        """Its path in sysfs, as uevents name it."""
        return f"/devices/pci0000:00/{self.pci}/drm/{self.name}"

    @property
    def uevent(self) -> str:
        """What its uevents hold, beside the action."""
        major, minor = self.number
        return f"SUBSYSTEM=drm\nDEVNAME=dri/{self.name}\nDEVTYPE=drm_minor\nMAJOR={major}\nMINOR={minor}"


class Graphics:
    """The graphics devices of a lab host, of which it has none by itself."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.cards: dict[str, Card] = {}
        self._sequence = 1_000_000

    def open(self) -> None:
        """Put the copy over sysfs; the programs that ask libudev must be told that this one is right too."""
        self.lab.run("sh", "-c", _OVERLAY)
        for unit in ("systemd-udevd", "systemd-logind", "isod"):
            dropin = self.lab.host_path(f"/run/systemd/system/{unit}.service.d/lab-sysfs.conf")
            write(dropin, "[Service]\nEnvironment=SYSTEMD_DEVICE_VERIFY_SYSFS=0\n")
        self.lab.run("systemctl", "daemon-reload")
        self.lab.run("systemctl", "restart", "systemd-udevd", "systemd-logind", "isod")
        write(self.lab.host_path("/sys/class/drm/version"), "drm 1.1.0 20060810\n")

    def close(self) -> None:
        """Remove all of it."""
        for name in list(self.cards):
            self.remove(name)
        self.lab.run("umount", "/sys/class", "/sys/devices", "/sys/dev", "/run/lab-sysfs")
        for unit in ("systemd-udevd", "systemd-logind", "isod"):
            self.lab.host_path(f"/run/systemd/system/{unit}.service.d/lab-sysfs.conf").unlink()
        self.lab.run("systemctl", "daemon-reload")
        self.lab.run("systemctl", "restart", "systemd-udevd", "systemd-logind", "isod")
        # Links of containers that came while udevd was restarted or busy: networkd waits for it to have seen them.
        self.lab.run("udevadm", "trigger", "--action=add", "--subsystem-match=net", "--settle")

    def add(self, card: Card) -> Card:
        """Plug it in, and wait until udevd is done with it."""
        self.place(card)
        self.tell("add", card)
        return card

    def place(self, card: Card) -> None:
        """Have the kernel know it, without a word."""
        self.cards[card.name] = card
        major, minor = card.number
        sysfs = self.lab.host_path("/sys")
        path = sysfs / card.device.lstrip("/")
        path.mkdir(parents=True, exist_ok=True)
        write(path / "uevent", "\n".join(card.uevent.splitlines()[1:]) + "\n")
        write(path / "dev", f"{major}:{minor}\n")
        _link(path / "subsystem", "/sys/class/drm")
        parent = path.parents[1]
        write(parent / "uevent", f"DRIVER=i915\nPCI_SLOT_NAME={card.pci}\n")
        _link(parent / "subsystem", "/sys/bus/pci")
        _link(path / "device", f"/sys/devices/pci0000:00/{card.pci}")
        _link(sysfs / "class/drm" / card.name, f"/sys{card.device}")
        _link(sysfs / f"dev/char/{major}:{minor}", f"/sys{card.device}")
        self._make_node(card)

    def _make_node(self, card: Card) -> None:
        node = self.lab.host_path(card.node)
        while not node.exists():
            # udevd removes the directory with the last link in it, also while mkdir's own exist_ok looks at it.
            with suppress(FileExistsError):
                node.parent.mkdir()
            with suppress(FileNotFoundError):
                os.mknod(node, stat.S_IFCHR, os.makedev(*card.number))
                node.chmod(0o660)

    def remove(self, name: str) -> None:
        """Unplug it, and wait until udevd is done with that."""
        card = self.take(name)
        self.tell("remove", card)

    def take(self, name: str) -> Card:
        """Have the kernel forget it, without a word."""
        card = self.cards.pop(name)
        sysfs = self.lab.host_path("/sys")
        for link in (f"class/drm/{name}", f"dev/char/{card.number[0]}:{card.number[1]}"):
            (sysfs / link).unlink(missing_ok=True)
        shutil.rmtree(sysfs / card.device.lstrip("/"))
        self.lab.host_path(card.node).unlink(missing_ok=True)
        return card

    def tell(self, action: str, *cards: Card) -> float:
        """Send uevents for cards, and wait until udevd is done with them; gives when the first was sent (monotonic)."""
        lines = "".join(self._line(action, card) for card in cards)
        sent = self.lab.run("python3", "-c", _INJECT, stdin=lines.encode()).stdout
        self.lab.run("udevadm", "settle", "--timeout=20")
        return float(sent.split()[0])

    def touch(self, path: str) -> None:
        """Tell once more of a device that is real; the kernel itself can't be asked to, by a copy of sysfs."""
        script = f"readlink -f {path}; basename $(readlink -f {path}/subsystem); cat {path}/uevent"
        device, subsystem, *values = self.lab.run("sh", "-c", script).stdout.split()
        device = device.removeprefix("/sys")
        self._sequence += 1
        head = ["change@" + device, "ACTION=change", "DEVPATH=" + device, f"SEQNUM={self._sequence}"]
        line = ";".join([*head, "SUBSYSTEM=" + subsystem, *values]) + "\n"
        self.lab.run("python3", "-c", _INJECT, stdin=line.encode())
        self.lab.run("udevadm", "settle", "--timeout=20")

    def burst(self, card: Card, times: int) -> None:
        """Plug a card in and out, as fast as that can be told."""
        with self.lab.popen("python3", "-uc", _INJECT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            assert process.stdin is not None
            for _ in range(times):
                self.place(card)
                process.stdin.write(self._line("add", card).encode())
                process.stdin.flush()
                self.take(card.name)
                process.stdin.write(self._line("remove", card).encode())
                process.stdin.flush()
            process.communicate()

    def _line(self, action: str, card: Card) -> str:
        self._sequence += 1
        head = f"{action}@{card.device};ACTION={action};DEVPATH={card.device};SEQNUM={self._sequence};"
        return head + card.uevent.replace("\n", ";") + "\n"


@contextmanager
def graphics(lab: Lab) -> Iterator[Graphics]:
    """Give the lab host places for graphics devices, for a while."""
    made = Graphics(lab)
    made.open()
    try:
        yield made
    finally:
        made.close()


def allowed(lab: Lab, container: str) -> list[str]:
    """The DeviceAllow of a container's unit, an entry each."""
    shown = lab.run("systemctl", "show", "-p", "DeviceAllow", lab.unit(container)).stdout
    return [line.removeprefix("DeviceAllow=") for line in shown.splitlines()]


def can_open(lab: Lab, container: str, node: str, user: str = "alice") -> str:
    """Open a device inside: "" or why that fails."""
    script = f"import os; os.open({node!r}, os.O_RDONLY)"
    done = lab.in_container(container, "python3", "-c", script, user=user, check=False)
    return done.stderr.strip().splitlines()[-1].partition("] ")[2].partition(":")[0] if done.returncode else ""


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(os.path.relpath(target, "/sys/" + str(path.parent).partition("/sys/")[2]))
