"""The host's devices by udev (libudev(3)), followed through a socket that isod-helper opens.

isod lives in an empty network namespace, where no message of udevd arrives, so pyudev's own monitor would hear nothing.
A message only says that something changed; what is there now is always read anew.
"""

import asyncio
import logging
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterable, Sequence

import pyudev

from isod.core.background import Background
from isod.device_ports import Device
from isod.host.helper import Helper

_log = logging.getLogger(__name__)

_MESSAGE_BYTES_MAX = 8192  # udevd's own bound
_MESSAGES_PER_TURN = 64
_UCRED = struct.Struct("3i")
_RETRY_SEC = 5.0
_SCANS = 3  # a device may go while all are listed
_DRIVERS = "/proc/devices"
_SYSFS = "/sys/dev/char"


class UdevDevices:
    """Adapter of `HostDevices`."""

    def __init__(self, helper: Helper) -> None:
        """Take who opens the socket."""
        self._helper = helper
        self._context = pyudev.Context()
        self._socket: socket.socket | None = None
        self._marks: tuple[bytes, ...] = ()
        self._is_told = False  # that it can't be followed
        self._changed: Callable[[], None] = lambda: None
        self._background = Background()
        self._retry: asyncio.TimerHandle | None = None

    async def open(self, changed: Callable[[], None]) -> None:
        """Begin to follow; where that is not possible it is told, and tried again."""
        self._changed = changed
        await self._connect()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._socket = await self._helper.watch_devices()
        except OSError as error:
            if not self._is_told:
                _log.warning("devices.not_followed", extra={"reason": str(error), "retry_sec": _RETRY_SEC})
            self._is_told = True
            self._retry = loop.call_later(_RETRY_SEC, lambda: self._background.spawn(self._connect()))
            return
        self._socket.setblocking(False)
        loop.add_reader(self._socket, self._read, self._socket)
        self._changed()

    async def close(self) -> None:
        """Follow no more, and try no more to."""
        if self._retry is not None:
            self._retry.cancel()
        await self._background.close()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def follow(self, subsystems: Iterable[str]) -> None:
        """Choose whose changes count."""
        self._marks = tuple(f"\0SUBSYSTEM={subsystem}\0".encode() for subsystem in sorted(set(subsystems)))

    def _read(self, sock: socket.socket) -> None:
        changed = False
        for _ in range(_MESSAGES_PER_TURN):
            try:
                message, ancillary, _, _ = sock.recvmsg(_MESSAGE_BYTES_MAX, socket.CMSG_SPACE(_UCRED.size))
            except BlockingIOError:
                break
            except OSError:
                # ENOBUFS: more came than the socket holds, and some of it is lost.
                changed = True
                continue
            changed |= _is_from_root(ancillary) and any(mark in message for mark in self._marks)
        if changed:
            self._changed()

    def find(self, subsystem: str) -> Sequence[Device]:
        """Give the character devices of a subsystem that udev is done with and whose nodes are there."""
        for _ in range(_SCANS):
            try:
                listed = self._context.list_devices(subsystem=subsystem).match_is_initialized()
                found = [_device(device) for device in listed]
            except pyudev.DeviceNotFoundError:
                continue
            return [device for device in found if device and _has_node(device)]
        return []

    def driver_node(self, node: str, driver: str) -> Device | None:
        """Give a node that udev does not know; None where there is none. Raises ValueError if it is another driver's.

        What is known of such a node: the driver that the kernel has for its major number, and sysfs if it has an entry.
        """
        try:
            status = os.lstat(node)
        except FileNotFoundError:
            return None
        number = (os.major(status.st_rdev), os.minor(status.st_rdev))
        if not stat.S_ISCHR(status.st_mode) or driver not in _driver_of(number[0]):
            raise ValueError(f"{node} is not a device of the driver {driver}, so it is not granted")
        known = _sysfs_name(number)
        if known and f"/dev/{known}" != node:
            raise ValueError(f"{node} has the number of /dev/{known}, so it is not granted")
        return Device(subsystem="", name=os.path.basename(node), node=node, number=number)

    def open_node(self, device: Device) -> int:
        """Open a device's node as a path only. Raises OSError, also where something else stands there by now."""
        fd = os.open(device.node, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        if not _is_node(os.fstat(fd), device.number):
            os.close(fd)
            raise FileNotFoundError(2, "another device stands there by now", device.node)
        return fd


def _is_from_root(ancillary: list[tuple[int, int, bytes]]) -> bool:
    return any(
        (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) and _UCRED.unpack(data)[1] == 0
        for level, kind, data in ancillary
    )


def _device(device: "pyudev.Device") -> Device | None:
    node, number = device.device_node, device.device_number
    if not node or not number or device.subsystem == "block":
        return None
    pci = device.find_parent("pci")
    return Device(
        subsystem=device.subsystem,
        name=device.sys_name,
        node=node,
        number=(os.major(number), os.minor(number)),
        pci=pci.sys_name if pci is not None else "",
        properties=dict(device.properties),
    )


def _has_node(device: Device) -> bool:
    try:
        return _is_node(os.lstat(device.node), device.number)
    except OSError:
        return False


def _is_node(status: os.stat_result, number: tuple[int, int]) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(*number)


def _driver_of(major: int) -> str:
    """Give the names that the kernel has for a major number of character devices (proc_devices(5)), in one text."""
    names = []
    with open(_DRIVERS) as lines:
        for line in lines:
            if line.startswith("Block devices"):
                break
            number, _, name = line.strip().partition(" ")
            if number == str(major):
                names.append(name)
    return " ".join(names)


def _sysfs_name(number: tuple[int, int]) -> str:
    """Give the name that sysfs has for a device's node; "" where sysfs does not know it."""
    try:
        with open(f"{_SYSFS}/{number[0]}:{number[1]}/uevent") as lines:
            return next((line.strip().partition("=")[2] for line in lines if line.startswith("DEVNAME=")), "")
    except OSError:
        return ""
