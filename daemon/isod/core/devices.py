"""Device nodes in containers, made equal to what policy grants and what devices the host has at this moment.

Every event (a device comes or goes, a container starts, policy changes, somebody grants) only asks for another round
for a container, and a container's rounds come one after another.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from isod.core.container import Container
from isod.core.device_allow import DeviceAllow
from isod.core.device_records import DeviceRecord, DeviceRecords
from isod.core.events import Events, Listener
from isod.core.shown import ShownDirectories
from isod.device_ports import Device, HostDevices, NodeMaker, Nodes, UnmetDevices
from isod.ports import AuditSink, HostUnits
from isod.resources import device_kinds
from isod_contract.errors import IsodError, Unsupported
from isod_contract.names import NODE_DIRECTORY
from isod_contract.records import ATTACH, DETACH

_log = logging.getLogger(__name__)

_DRI = "/dev/dri/"
# No event tells when a helper that was too busy is so no more.
_RETRY_SEC = 5.0
# A device that can't be had never keeps an app from starting.
_ARRIVE_SEC = 3.0
_PASSING = (TimeoutError, BlockingIOError, ConnectionError)


@dataclass(slots=True)
class _State:
    """What one container has, and what of it could not be had."""

    attached: dict[str, tuple[str, Device]] = field(default_factory=dict)  # kind and device by path
    problems: list[tuple[str, str]] = field(default_factory=list)  # kind and sentence


class Devices(Listener):
    """Keeps the devices of all containers right."""

    def __init__(
        self,
        *,
        containers: Callable[[], Iterable[Container]],
        never: Callable[[], Mapping[str, Iterable[str]]],
        host: HostDevices,
        nodes: Nodes,
        maker: NodeMaker,
        units: HostUnits,
        shown: ShownDirectories,
        records: DeviceRecords,
        audit: AuditSink,
        events: Events,
    ) -> None:
        """Take the ports, and follow the containers; `never` gives the levels that no container gets, by kind."""
        self._containers = containers
        self._never = never
        self._host = host
        self._nodes = nodes
        self._maker = maker
        self._shown = shown
        self._records = records
        self._allow = DeviceAllow(units, records)
        self._audit = audit
        self._events = events
        self._states: dict[Container, _State] = {}
        self._tasks: dict[Container, asyncio.Task[None]] = {}
        self._again: set[Container] = set()
        self._retries: dict[Container, asyncio.TimerHandle] = {}
        self._opening: asyncio.Task[None] | None = None
        events.listen(self)

    def open(self) -> None:
        """Take over what an earlier isod left, and follow the host's devices; before containers are followed.

        Else a round would find a device that was granted to a running container, and no grant of it.
        """
        self._records.load()
        self.look_at_all()
        # Callers need not wait for that.
        self._opening = asyncio.get_running_loop().create_task(self._host.open(self.look_at_all))

    async def close(self) -> None:
        """End what is under way; what is attached stays."""
        self._again.clear()
        for retry in self._retries.values():
            retry.cancel()
        tasks = [*self._tasks.values(), *([self._opening] if self._opening else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._host.close()

    def look_at_all(self) -> None:
        """Ask for a round for each container: devices or policy changed."""
        self._follow()
        for container in self._containers():
            self.look_at(container)

    def _follow(self) -> None:
        followed = {
            container: {
                subsystem
                for key, kind in device_kinds().items()
                for value in container.grant_values(key)
                for subsystem in kind.subsystems(value)
            }
            for container in self._containers()
        }
        self._host.follow(set().union(*followed.values()))
        self._maker.stand_by(any(followed[container] for container in followed if container.guest is not None))

    def look_at(self, container: Container) -> None:
        """Ask for a round for one container."""
        self._again.add(container)
        if container not in self._tasks:
            self._tasks[container] = asyncio.get_running_loop().create_task(self._work(container))

    async def settle(self, container: Container) -> None:
        """Make one right, after something was granted to it or taken back, and wait for it."""
        self._end_grants(container, self._records.of(container.unit))
        self.look_at_all()
        while (task := self._tasks.get(container)) is not None:
            await asyncio.wait({task})

    async def arrive(self, container: Container) -> None:
        """Let what is under way for a container end, for a bounded time: an app finds the devices it was granted."""
        if (task := self._tasks.get(container)) is not None:
            await asyncio.wait({task}, timeout=_ARRIVE_SEC)

    def attachments(self, container: Container) -> list[dict[str, str]]:
        """Give what is attached now, and what is granted and could not be attached."""
        state = self._states.get(container)
        if state is None or container.guest is None:
            return []
        found = [{"resource": key, "what": _told(device)} for key, device in state.attached.values()]
        return found + [{"resource": key, "what": "", "problem": text} for key, text in state.problems]

    def nodes(self, container: Container, key: str) -> list[str]:
        """Name the host's nodes of the devices of a kind that are attached now."""
        state = self._states.get(container)
        return sorted(device.node for kind, device in state.attached.values() if kind == key) if state else []

    def problems(self, container: Container, key: str) -> list[str]:
        """Give why devices of a kind that are granted could not be attached."""
        state = self._states.get(container)
        return [text for kind, text in state.problems if kind == key] if state else []

    def unmet(self, container: Container) -> UnmetDevices:
        """Say what is granted by name and not there, and what no device can ever be."""
        values = [(kind, value) for key, kind in device_kinds().items() for value in container.grant_values(key)]
        return UnmetDevices(
            absent=tuple(text for kind, value in values for text in kind.absent(value, self._host)),
            never=tuple(text for kind, value in values for text in kind.never(value, self._host)),
        )

    # -- isod.core.events.Listener

    def container_changed(self, container: Any, changed: frozenset[str]) -> None:
        """Look at a container that has started or stopped."""
        if "State" in changed:
            self._follow()
            self.look_at(container)

    # -- rounds

    async def _work(self, container: Container) -> None:
        try:
            while container in self._again:
                self._again.discard(container)
                await self._round(container)
        except (IsodError, OSError) as error:
            self._retry_after(container, error)
            self._note(container, self._state(container), [("devices", str(error))])
        finally:
            del self._tasks[container]
            if container in self._again:
                self.look_at(container)

    def _retry_after(self, container: Container, error: Exception) -> None:
        """Ask for another round later on, if what failed may be over by then."""
        if isinstance(error, _PASSING):
            if container in self._retries:
                self._retries[container].cancel()
            self._retries[container] = asyncio.get_running_loop().call_later(_RETRY_SEC, self.look_at, container)

    def _state(self, container: Container) -> _State:
        return self._states.setdefault(container, _State())

    async def _round(self, container: Container) -> None:
        record, state = self._records.of(container.unit), self._state(container)
        self._end_grants(container, record)
        guest = container.guest
        if guest is None and not record.allowed and not state.attached:
            return
        wanted, problems = self._wanted(container)
        # Away first: a number may be another device's by now.
        await self._allow.apply(record, {device.key for _, device in wanted.values()})
        await self._take_away(container, guest, wanted)
        attached: dict[str, tuple[str, Device]] = {}
        for path, (key, device) in wanted.items():
            try:
                if guest is not None:
                    await self._give(container, guest, device)
                attached[path] = key, device
            except FileNotFoundError:
                # Unplugged meanwhile; that has an event of its own.
                continue
            except (IsodError, OSError) as error:
                self._retry_after(container, error)
                problems.append((key, f"{device.node}: {error}"))
        self._tell(container, state, attached)
        self._note(container, state, problems)

    def _end_grants(self, container: Container, record: DeviceRecord) -> None:
        """Forget what was granted to an earlier run of the container, or is forbidden by now."""
        if record.end_grants(container.invocation_id, self._never()):
            self._records.save(record)
        granted = {key: grant.value for key, grant in record.granted.items()}
        if granted != container.granted:
            container.granted = granted
            self._follow()
            self._events.container_changed(container, "Grants")

    def _wanted(self, container: Container) -> tuple[dict[str, tuple[str, Device]], list[tuple[str, str]]]:
        wanted: dict[str, tuple[str, Device]] = {}
        problems = []
        for key, kind in device_kinds().items():
            for value in container.grant_values(key):
                found, refused = kind.choose(value, self._host)
                wanted |= {device.node: (key, device) for device in found}
                problems += [(key, text) for text in refused]
        return wanted, problems

    async def _take_away(self, container: Container, guest: Any, wanted: Mapping[str, tuple[str, Device]]) -> None:
        due = {_place(path): device.key for path, (_, device) in wanted.items()}
        for (directory, name), number in self._nodes.listed(container.machine).items():
            if due.get((directory, name)) == number:
                continue
            if directory == NODE_DIRECTORY and guest is not None:
                await self._unmount(guest, "/dev/" + name.replace("!", "/"), number)
            self._nodes.remove(container.machine, directory, name)

    async def _unmount(self, guest: Any, path: str, number: str) -> None:
        if number and await self._inside(guest, path) == number:
            # What stays is a node that can't be opened any more.
            with contextlib.suppress(OSError):
                await self._maker.detach_node(guest.pidfd, guest.uid_shift, path.lstrip("/"))

    async def _give(self, container: Container, guest: Any, device: Device) -> None:
        """Have the node at its path inside. Raises Unsupported, UnsafePath, OSError."""
        seen = await self._inside(guest, device.node)
        if seen == device.key:
            return
        directory, name = _place(device.node)
        if directory == NODE_DIRECTORY:
            await self._shown.make(guest, container.machine)
        else:
            os.close(await self._shown.open(container, guest, directory, "a graphics device"))
        if self._nodes.listed(container.machine).get((directory, name)) != device.key:
            node_fd = self._host.open_node(device)
            try:
                await self._maker.make_node(container.machine, directory, name, node_fd)
            finally:
                os.close(node_fd)
        if directory == NODE_DIRECTORY:
            place = device.node.lstrip("/")
            await self._maker.attach_node(container.machine, guest.pidfd, guest.uid_shift, name, place)
        if await self._inside(guest, device.node) != device.key:
            raise Unsupported(what="a device", reason="something else stands at its place in the container")

    async def _inside(self, guest: Any, path: str) -> str:
        found: str = await guest.offload.run(lambda: self._nodes.inside(guest.root_fd, path))
        return found

    def _tell(self, container: Container, state: _State, attached: dict[str, tuple[str, Device]]) -> None:
        before, state.attached = state.attached, attached
        if before == attached:
            return
        granted = self._records.of(container.unit).granted
        for record, some, others in ((DETACH, before, attached), (ATTACH, attached, before)):
            for path, (key, device) in some.items():
                if others.get(path) != (key, device):
                    uid = granted[key].uid if key in granted else None
                    self._audit.record(record, uid=uid, container=container.name, resource=key, device=_told(device))
        self._events.container_changed(container, "Attachments")

    def _note(self, container: Container, state: _State, problems: list[tuple[str, str]]) -> None:
        if problems == state.problems:
            return
        state.problems = problems
        for key, text in problems:
            _log.warning("device.not_attached", extra={"container": container.name, "resource": key, "reason": text})
        self._events.container_changed(container, "Attachments")


def _place(path: str) -> tuple[str, str]:
    """Give where in a container's tmpfs the node of a path stands: in what it sees as /dev/dri, or mounted singly."""
    if path.startswith(_DRI):
        return "dri", path.removeprefix(_DRI)
    # As sysfs writes a name with a slash in it.
    return NODE_DIRECTORY, path.removeprefix("/dev/").replace("/", "!")


def _told(device: Device) -> str:
    """Give a phrase for people."""
    return f"{device.node} ({device.key}{', PCI ' + device.pci if device.pci else ''})"
