"""Stand-ins for a host with devices and a container: nodes are only remembered."""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core_fakes import FakeGuest
from display_fakes import FakeOffload
from isod.core.container import Container
from isod.core.device_records import DeviceRecords
from isod.core.devices import Devices
from isod.core.events import Events
from isod.device_ports import Device
from isod.policy import ContainerPolicy
from isod.ports import UnitSettings
from isod_contract.errors import Unsupported
from isod_contract.records import Record

UNIT = "container@blog.service"
ADMINS = (("/dev/null", "rwm"), ("char-pts", "rw"))


def card(name: str = "renderD128", minor: int = 128, pci: str = "0000:00:02.0") -> Device:
    return Device("drm", name, f"/dev/dri/{name}", (226, minor), pci)


def key(minor: int = 7, name: str = "hidraw0") -> Device:
    properties = {"SUBSYSTEM": "hidraw", "ID_VENDOR_ID": "1050"}
    return Device("hidraw", name, f"/dev/{name}", (245, minor), properties=properties)


class Guest(FakeGuest):
    def __init__(self, uid_shift: int = 0) -> None:
        super().__init__(uid_shift=uid_shift)
        self.offload = FakeOffload()
        self.machine, self.root_fd, self.pidfd = "blog", 3, 4


class World:
    """One isod's part for devices; it is host, nodes, maker, units, shown directories and audit at once."""

    def __init__(self, state: Path, earlier: "World | None" = None) -> None:
        self.plugged: list[Device] = []
        self.followed: frozenset[str] = frozenset()
        self.ready = False
        self.allowed = earlier.allowed if earlier else list(ADMINS)
        self.policy_of_devices = "closed"
        self.tmpfs: dict[tuple[str, str], str] = earlier.tmpfs if earlier else {}
        self.mounts: dict[str, str] = earlier.mounts if earlier else {}
        self.dri_shown = True
        self.calls: list[str] = []
        self.records: list[tuple[str, Any]] = []
        self.changes: list[str] = []
        self.never: Mapping[str, Iterable[str]] = {}
        self.fault: OSError | None = None
        self.refused: Unsupported | None = None
        self.container = Container("blog", UNIT, "blog", ContainerPolicy(users=("alice",)))
        self.guest = Guest()
        events = Events()
        ports: Any = self
        self.files = DeviceRecords(state)
        self.devices = Devices(
            containers=lambda: [self.container],
            never=lambda: self.never,
            host=ports,
            nodes=ports,
            maker=ports,
            units=ports,
            shown=ports,
            records=self.files,
            audit=ports,
            events=events,
        )
        self.events = events
        events.listen(ports)

    async def run(self, **grants: Any) -> None:
        """Have the container run under a policy, and all be done."""
        self.start()
        self.grant(**grants)
        await self.settle()

    def start(self, invocation_id: str = "ab" * 16) -> None:
        self.container.guest, self.container.invocation_id = self.guest, invocation_id
        self.mounts.clear()
        self.events.container_changed(self.container, "State")

    def stop(self) -> None:
        self.container.guest, self.container.invocation_id = None, ""
        self.events.container_changed(self.container, "State")

    def grant(self, **grants: Any) -> None:
        self.container.policy = ContainerPolicy.model_validate({"users": ["alice"], "grants": grants})
        self.devices.look_at_all()

    async def plug(self, *devices: Device) -> None:
        self.plugged = list(devices)
        self.devices.look_at_all()
        await self.settle()

    async def settle(self) -> None:
        while self.devices._tasks:
            await asyncio.wait(set(self.devices._tasks.values()))

    @property
    def ours(self) -> list[str]:
        return sorted(f"{what} {rights}" for what, rights in self.allowed if (what, rights) not in ADMINS)

    @property
    def seen(self) -> list[str]:
        """The nodes inside."""
        dri = [f"/dev/dri/{name}" for place, name in self.tmpfs if place == "dri"] if self.dri_shown else []
        return sorted([*dri, *self.mounts])

    # -- host

    async def open(self, *arguments: Any) -> Any:
        if len(arguments) == 1:
            return None
        _, _, directory, _ = arguments
        if self.refused:
            raise self.refused
        if not self.dri_shown:
            self.calls.append(f"show {directory}")
            self.dri_shown = True
        return os.open("/dev/null", os.O_RDONLY)

    async def make(self, _guest: Any, _machine: str) -> None:
        self.calls.append("prepare")

    async def close(self) -> None:
        """Follow no more."""

    def follow(self, subsystems: Iterable[str]) -> None:
        self.followed = frozenset(subsystems)

    def find(self, subsystem: str) -> Sequence[Device]:
        return [device for device in self.plugged if device.subsystem == subsystem]

    def driver_node(self, node: str, driver: str) -> Device | None:
        for device in self.plugged:
            if device.node == node and device.subsystem != driver:
                raise ValueError(f"{node} is not a device of the driver {driver}")
            if device.node == node:
                return device
        return None

    def open_node(self, device: Device) -> int:
        if device not in self.plugged:
            raise FileNotFoundError(device.node)
        self.calls.append(f"node {device.key}")
        return os.open("/dev/null", os.O_PATH)

    # -- nodes and their maker

    def listed(self, _machine: str) -> dict[tuple[str, str], str]:
        return dict(self.tmpfs)

    def remove(self, _machine: str, directory: str, name: str) -> None:
        del self.tmpfs[directory, name]

    def inside(self, _root_fd: int, path: str) -> str:
        if path in self.mounts:
            return self.mounts[path]
        directory, _, name = path.removeprefix("/dev/").partition("/")
        return self.tmpfs.get((directory, name), "") if self.dri_shown else ""

    def stand_by(self, needed: bool) -> None:
        self.ready = needed

    async def make_node(self, _machine: str, directory: str, name: str, _node_fd: int) -> None:
        if self.fault:
            raise self.fault
        if (directory, name) in self.tmpfs:
            raise FileExistsError(17, "File exists")
        number = next(call for call in reversed(self.calls) if call.startswith("node "))
        self.tmpfs[directory, name] = number.removeprefix("node ")

    async def attach_node(self, _machine: str, _pidfd: int, _shift: int, name: str, place: str) -> None:
        path = f"/{place}"
        assert path not in self.mounts, "one mount over another"
        self.mounts[path] = self.tmpfs["node", name]

    async def detach_node(self, _pidfd: int, _shift: int, place: str) -> None:
        del self.mounts[f"/{place}"]

    # -- systemd

    async def settings(self, unit: str) -> UnitSettings:
        assert unit == UNIT
        return UnitSettings(
            load_state="loaded",
            active_state="active",
            needs_reload=False,
            device_policy=self.policy_of_devices,
            device_allow=tuple(self.allowed),
            command=(),
        )

    async def allow_devices(self, _unit: str, entries: Sequence[tuple[str, str]], *, only: bool) -> None:
        self.calls.append("allow only" if only else "allow")
        self.allowed[:] = [*([] if only else self.allowed), *entries]

    # -- audit and events

    def record(self, kind: Record, **fields: Any) -> None:
        self.records.append((kind.name, fields["device"].split()[0]))

    def container_changed(self, _container: Any, changed: frozenset[str]) -> None:
        self.changes += sorted(changed - {"State"})
