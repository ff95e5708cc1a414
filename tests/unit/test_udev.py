"""What isod believes of udev's messages and of device nodes."""

import asyncio
import gc
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from closed import until_open_are
from isod.device_ports import Device
from isod.host import udev
from isod.host.udev import UdevDevices

DRM = b"libudev\0\xfe\xed\xca\xfe(\0\0\0ACTION=add\0SUBSYSTEM=drm\0DEVNAME=/dev/dri/renderD128\0"
SOUND = DRM.replace(b"=drm", b"=sound")


class Helper:
    """Gives one end of a socket pair for udevd's, or fails at first."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.udevd, self.ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    async def watch_devices(self) -> socket.socket:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("isod-helper gave no answer")
        return self.ours


@pytest.fixture
def helper() -> Iterator[Helper]:
    made = Helper()
    yield made
    made.udevd.close()
    made.ours.close()


async def told(helper: Helper, *messages: bytes) -> int:
    """Count how often isod is told of a change by messages that come at once."""
    changes = []
    devices: Any = UdevDevices(helper)  # type: ignore[arg-type]
    await devices.open(lambda: changes.append(1))
    devices.follow(["drm"])
    for message in messages:
        helper.udevd.send(message)
    devices._read(helper.ours)
    return len(changes) - 1  # one is that it began


async def test_a_message_of_a_followed_subsystem_says_that_something_changed(helper: Helper) -> None:
    assert await told(helper, DRM) == 1


async def test_others_wake_nobody(helper: Helper) -> None:
    assert await told(helper, SOUND, b"", b"\0" * 8192, DRM.replace(b"=drm", b"=drm_dp_aux_dev")) == 0


async def test_a_burst_is_one_change(helper: Helper) -> None:
    assert await told(helper, *[DRM] * 10) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="sending as another user takes root")
async def test_nobody_but_root_is_believed(helper: Helper) -> None:
    """Whoever is in a network namespace with us might send to such a socket."""
    os.setresuid(1000, 1000, 0)
    try:
        assert await told(helper, DRM) == 0
    finally:
        os.setresuid(0, 0, 0)


async def test_what_is_closed_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """B12: the next attempt was held by nothing, and nothing ended it."""
    monkeypatch.setattr(udev, "_RETRY_SEC", 0.01)
    failing = Helper(failures=1000)
    devices = UdevDevices(failing)  # type: ignore[arg-type]
    await devices.open(lambda: None)
    while failing.failures > 990:
        gc.collect()
        await asyncio.sleep(0.01)
    await devices.close()
    left = failing.failures
    await asyncio.sleep(0.1)
    assert failing.failures == left
    failing.udevd.close()
    failing.ours.close()


async def test_a_helper_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch, helper: Helper) -> None:
    monkeypatch.setattr(udev, "_RETRY_SEC", 0.01)
    helper.failures = 2
    changes: list[int] = []
    devices: Any = UdevDevices(helper)  # type: ignore[arg-type]
    await devices.open(lambda: changes.append(1))
    assert not changes
    while not changes:
        await udev.asyncio.sleep(0.01)


# -- nodes


@pytest.fixture
def drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    listing = "Character devices:\n  1 mem\n 10 misc\n195 nvidia\n195 nvidiactl\n\nBlock devices:\n  1 nvidia\n"
    (tmp_path / "devices").write_text(listing)
    monkeypatch.setattr(udev, "_DRIVERS", str(tmp_path / "devices"))
    monkeypatch.setattr(udev, "_SYSFS", str(tmp_path))
    return tmp_path


def make(path: Path, number: tuple[int, int]) -> str:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(*number))
    except PermissionError:
        pytest.skip("making nodes is not allowed here")
    return str(path)


def test_a_node_that_udev_does_not_know_must_be_its_drivers(drivers: Path) -> None:
    """NVIDIA's own: /dev/nvidiactl that is memory, or a disk, is none."""
    devices = UdevDevices(Any)  # type: ignore[arg-type]
    found = devices.driver_node(make(drivers / "nvidiactl", (195, 255)), "nvidia")
    assert found is not None
    assert (found.number, found.key) == ((195, 255), "195:255")
    for number in ((1, 1), (10, 183)):
        wrong = make(drivers / f"wrong{number[0]}", number)
        with pytest.raises(ValueError, match="is not a device of the driver nvidia"):
            devices.driver_node(wrong, "nvidia")
    (drivers / "file").write_text("")
    (drivers / "link").symlink_to("nvidiactl")
    for name in ("file", "link"):
        with pytest.raises(ValueError, match="is not a device"):
            devices.driver_node(str(drivers / name), "nvidia")
    assert devices.driver_node(str(drivers / "absent"), "nvidia") is None


def test_what_sysfs_knows_under_another_name_is_refused(drivers: Path) -> None:
    node = make(drivers / "nvidia0", (195, 0))
    (drivers / "195:0").mkdir()
    (drivers / "195:0/uevent").write_text("MAJOR=195\nMINOR=0\nDEVNAME=nvidia7\n")
    with pytest.raises(ValueError, match="has the number of /dev/nvidia7"):
        UdevDevices(Any).driver_node(node, "nvidia")  # type: ignore[arg-type]


def test_a_node_that_was_replaced_since_is_not_opened(tmp_path: Path) -> None:
    devices = UdevDevices(Any)  # type: ignore[arg-type]
    node = make(tmp_path / "node", (1, 3))
    os.close(devices.open_node(Device("mem", "null", node, (1, 3))))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        devices.open_node(Device("mem", "null", node, (1, 5)))
    until_open_are(before)
