"""Devices of the host as the core sees them: values, and the Protocols that adapters fulfil."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Device:
    """A character device of the host that has a node, as the kernel and udev describe it."""

    subsystem: str
    name: str  # of the kernel
    node: str  # path on the host
    number: tuple[int, int]
    pci: str = ""  # address of the PCI device that it belongs to
    properties: Mapping[str, str] = field(default_factory=dict)  # udev's

    @property
    def key(self) -> str:
        """Its number as systemd and /dev/char write it."""
        return f"{self.number[0]}:{self.number[1]}"


@dataclass(frozen=True, slots=True)
class UnmetDevices:
    """What a container is granted and has not, for a reason that no plug ends."""

    absent: tuple[str, ...] = ()  # named by itself, and not there
    never: tuple[str, ...] = ()  # what can choose no device, and why


class HostDevices(Protocol):
    """The host's devices, as udev knows them."""

    async def open(self, changed: Callable[[], None]) -> None:
        """Begin to call back whenever a device of a followed subsystem has come, gone or changed."""

    async def close(self) -> None:
        """Call back no more."""

    def follow(self, subsystems: Iterable[str]) -> None:
        """Choose whose changes count."""

    def find(self, subsystem: str) -> Sequence[Device]:
        """Give the character devices of a subsystem that udev is done with and whose nodes are there."""

    def driver_node(self, node: str, driver: str) -> Device | None:
        """Give a node that udev does not know, by its path; raises ValueError if it is not that driver's."""

    def open_node(self, device: Device) -> int:
        """Open a device's node as a path only; raises OSError, also where something else stands there by now."""


class Nodes(Protocol):
    """Device nodes in containers' directories below /run/isod/container, and what containers see; may block briefly."""

    def listed(self, machine: str) -> Mapping[tuple[str, str], str]:
        """Give what stands in `dri` and `node`: numbers (as Device.key; "" for what is no node) by place and name."""

    def remove(self, machine: str, directory: str, name: str) -> None:
        """Remove one."""

    def inside(self, root_fd: int, path: str) -> str:
        """Give the number of the device node at a path inside; "" if there is none."""


class NodeMaker(Protocol):
    """Makes and mounts device nodes (isod-helper); all raise OSError."""

    def stand_by(self, needed: bool) -> None:
        """Be ready to make nodes at once, for as long as that is needed; else it may take a while."""

    async def make_node(self, machine: str, directory: str, name: str, node_fd: int) -> None:
        """Make a copy of the host's node in a directory of the container's tmpfs."""

    async def attach_node(self, machine: str, pidfd: int, uid_shift: int, name: str, place: str) -> None:
        """Show a node of the container's tmpfs at a place inside."""

    async def detach_node(self, pidfd: int, uid_shift: int, place: str) -> None:
        """Take that away again."""
