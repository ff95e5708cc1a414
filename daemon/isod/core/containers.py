"""All containers: found by policy, started on demand with one shared job, followed by their units' signals."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Iterable
from typing import Any

from isod.authorise import Verb, sees
from isod.core.background import Background
from isod.core.container import Container
from isod.core.events import Events
from isod.core.leftovers import Leftovers
from isod.core.permission import Permission
from isod.core.start import Starts
from isod.nixos import is_declared
from isod.nspawn_root import StartGuard
from isod.policy import ContainerPolicy
from isod.policy_loader import Policy
from isod.ports import AuditSink, Authority, Caller, Guest, GuestConnector, HostUnits, UnitLog
from isod_contract.errors import HostSilent, IsodError, NoSuchContainer
from isod_contract.names import is_container_name
from isod_contract.records import CONTAINER_STOP
from isod_contract.states import ContainerState

_log = logging.getLogger(__name__)

_READ_AGAIN_SEC = 1.0
_STATES = {
    "active": ContainerState.RUNNING,
    "reloading": ContainerState.RUNNING,
    "activating": ContainerState.STARTING,
    "deactivating": ContainerState.STOPPING,
    "failed": ContainerState.FAILED,
}


class Containers:
    """Finds, starts and stops containers. One instance for each name and unit (`%u`: one for each user)."""

    def __init__(
        self,
        *,
        policy: Policy,
        units: HostUnits,
        door: GuestConnector,
        authority: Authority,
        audit: AuditSink,
        events: Events,
        unit_log: UnitLog,
        guard: StartGuard,
        leftovers: Leftovers,
    ) -> None:
        """Take the ports."""
        self.policy = policy
        self._units = units
        self._audit = audit
        self._events = events
        self._starts = Starts(
            units=units,
            door=door,
            audit=audit,
            events=events,
            unit_log=unit_log,
            guard=guard,
            leftovers=leftovers,
            connected=self._connected,
        )
        self.ensure_running = self._starts.ensure_running
        self._known: dict[tuple[str, str], Container] = {}
        self._chosen: dict[str, str] = {}
        self._stock_watched: set[str] = set()
        self._background = Background()
        self.guest_ready: Callable[[Container], None] = lambda _: None
        self.guest_lost: Callable[[Container], None] = lambda _: None
        self.look_at_sessions: Callable[[Container], None] = lambda _: None
        self.others_running: Callable[[Container, Caller], bool] = lambda _container, _caller: False
        self.authorise = Permission(
            policy_of=lambda container: self.policy.containers.get(container.name, ContainerPolicy()),
            others_running=self._others_run,
            authority=authority,
            audit=audit,
        ).require

    async def open(self, recorded: Iterable[tuple[str, str]] = ()) -> None:
        """Begin to follow every container whose unit does not depend on the caller, and those with recorded apps.

        The latter, (name, unit), may be a user's instance, or one whose policy file was deleted: its apps live on.
        """
        for name in self.policy.containers:
            await self._choose(name)
        for name, unit in recorded:
            if (name, unit) not in self._known:
                await self._follow(self._instance(name, unit))

    async def _choose(self, name: str) -> None:
        """Find the unit that a container is, and follow it; again when policy or what runs says otherwise."""
        policy = self.policy.containers.get(name)
        if policy is None or "%u" in (policy.unit or ""):
            self._chosen.pop(name, None)
            return
        stock = f"systemd-nspawn@{name}.service"
        if policy.unit is None and name not in self._stock_watched:
            self._stock_watched.add(name)
            await self._units.watch(stock, lambda: self._choose_again(name))
        unit = policy.unit or await self._usual_unit(name, stock)
        fresh = (name, unit) not in self._known
        container = self._instance(name, unit)
        self._chosen[name] = unit
        if fresh:
            await self._follow(container)

    def _choose_again(self, name: str) -> None:
        self._background.spawn(self._choose(name))

    async def _usual_unit(self, name: str, stock: str) -> str:
        """Give the unit of a container whose policy names none: what runs, else what is set up (nixos-container(8))."""
        nixos = f"container@{name}.service"
        statuses = {unit: await self._units.status(unit) for unit in (nixos, stock)}
        for unit, status in statuses.items():
            if status.active_state not in ("inactive", "failed"):
                return unit
        if is_declared(name) or statuses[nixos].load_state == "loaded":
            return nixos
        return stock if statuses[stock].load_state == "loaded" else nixos

    def _instance(self, name: str, unit: str) -> Container:
        container = self._known.get((name, unit))
        if container is None:
            prefix, _, instance = unit.removesuffix(".service").partition("@")
            policy = self.policy.containers.get(name, ContainerPolicy())
            # Of a user's own instance of any template the instance is all that can be its machine's name.
            named_so = prefix in ("container", "systemd-nspawn") or "%u" in (policy.unit or "")
            machine = instance if named_so and instance else name
            container = self._known[name, unit] = Container(name, unit, machine, policy)
        return container

    async def _follow(self, container: Container) -> None:
        await self._units.watch(container.unit, lambda: self._unit_changed(container))
        await self._refresh(container)

    def _unit_changed(self, container: Container) -> None:
        # One reader at a time, and one more round if anything came meanwhile: the last state read is the newest.
        if container.refreshing is not None:
            container.refresh_again = True
            return
        container.refreshing = self._background.spawn(self._refresh_until_quiet(container))

    async def _refresh_until_quiet(self, container: Container) -> None:
        try:
            container.refresh_again = True
            while container.refresh_again:
                container.refresh_again = False
                try:
                    await self._refresh(container)
                except HostSilent as error:
                    # Else it would be what it was until it changes once more.
                    _log.info("container.not_read", extra={"container": container.name, "reason": str(error)})
                    await asyncio.sleep(_READ_AGAIN_SEC)
                    container.refresh_again = True
        finally:
            container.refreshing = None

    async def _refresh(self, container: Container) -> None:
        status = await self._units.status(container.unit)
        before, container.invocation_id = container.invocation_id, status.invocation_id
        if before != status.invocation_id:
            self._lose_guest(container)
        state = _STATES.get(status.active_state, ContainerState.STOPPED)
        if state is ContainerState.RUNNING and container.guest is None:
            state = ContainerState.STARTING  # active is the container's word; its bus must answer
            self._starts.adopt(container)
        elif state is ContainerState.RUNNING and container.stops:
            state = ContainerState.STOPPING  # its job is queued
        elif state in (ContainerState.STOPPED, ContainerState.FAILED):
            self._lose_guest(container)
        elif state is ContainerState.RUNNING:
            await container.guest.look_at_system()  # a reload of the unit switches to another
        self._set_state(container, state)

    def _set_state(self, container: Container, state: ContainerState) -> None:
        if state is not container.state:
            container.state = state
            self._events.container_changed(container, "State")

    def _lose_guest(self, container: Container) -> None:
        guest, container.guest = container.guest, None
        # Also told of one that was never connected: an earlier isod's apps may have ended with it.
        self.guest_lost(container)
        if guest is not None:
            # Not waited for: work on files that never answer may keep it open for ever, and the container starts again.
            self._background.spawn(guest.close())

    async def close(self) -> None:
        """End what is under way here; containers, and jobs that systemd has, go on."""
        await self._background.close()
        await self._starts.close()

    def all(self) -> list[Container]:
        """Give all containers followed now."""
        return list(self._known.values())

    def is_unit_of_one(self, unit: str) -> bool:
        """Tell whether a unit of the host is a container by policy, also one of a user who was not here yet."""
        if any(container.unit == unit for container in self._known.values()):
            return True
        patterns = (
            re.escape(policy.unit).replace("%u", ".+") for policy in self.policy.containers.values() if policy.unit
        )
        return any(re.fullmatch(pattern, unit) for pattern in patterns)

    def visible(self, caller: Caller) -> list[Container]:
        """Give the containers that the caller may see, by name."""
        names = sorted(name for name, policy in self.policy.containers.items() if sees(policy, caller))
        found = (self._of(name, caller) for name in names)
        return [container for container in found if container is not None]

    def find(self, untrusted_name: str, caller: Caller) -> Container:
        """Give one container. Raises NoSuchContainer, the same for one that the caller may not see."""
        if is_container_name(untrusted_name):
            policy = self.policy.containers.get(untrusted_name)
            container = self._of(untrusted_name, caller) if policy and sees(policy, caller) else None
            if container is not None:
                return container
        raise NoSuchContainer(container=untrusted_name[:64])

    def _of(self, name: str, caller: Caller) -> Container | None:
        policy = self.policy.containers[name]
        if policy.unit and "%u" in policy.unit:
            try:
                unit = policy.unit_for(caller.user)
            except ValueError:
                return None
            fresh = (name, unit) not in self._known
            container = self._instance(name, unit or "")
            if fresh:
                self._background.spawn(self._follow(container))
            return container
        return self._known.get((name, self._chosen.get(name, "")))

    def _others_run(self, container: Container, caller: Caller) -> bool:
        return self.others_running(container, caller)

    async def start(self, container: Container, caller: Caller) -> None:
        """Begin a start; State and Problem tell the rest."""
        self._forget_problem(container)
        self._background.spawn(self._start_for(container, caller))

    async def _start_for(self, container: Container, caller: Caller) -> None:
        try:
            await self.authorise(container, caller, Verb.START)
            await self.ensure_running(container, caller)
        except IsodError as error:
            container.note_problem(error)
            self._events.container_changed(container, "Problem")

    async def stop(self, container: Container, caller: Caller, *, force: bool) -> None:
        """Stop; answers when systemd has the job. Raises Busy, NotPermitted."""
        await self.authorise(container, caller, Verb.STOP, force=force)
        self._audit.record(CONTAINER_STOP, uid=caller.uid, container=container.name, unit=container.unit)
        self._forget_problem(container)
        self._background.spawn(self._stop(container))

    async def restart(self, container: Container, caller: Caller, *, force: bool) -> None:
        """Stop and start. Raises Busy, NotPermitted."""
        await self.authorise(container, caller, Verb.RESTART, force=force)
        self._audit.record(CONTAINER_STOP, uid=caller.uid, container=container.name, unit=container.unit)
        self._forget_problem(container)
        self._background.spawn(self._stop_and_start(container, caller))

    def _forget_problem(self, container: Container) -> None:
        """Begin anew: whoever asks now must not take an older failure for their own."""
        if container.has_problem:
            container.note_problem(None)
            self._events.container_changed(container, "Problem")

    async def _stop_and_start(self, container: Container, caller: Caller) -> None:
        await self._stop(container)
        with contextlib.suppress(IsodError):
            await self.ensure_running(container, caller)

    async def _stop(self, container: Container) -> None:
        # At once, not when systemd tells: a launch that comes now must not go into what is about to stop.
        if container.state in (ContainerState.RUNNING, ContainerState.STARTING):
            self._set_state(container, ContainerState.STOPPING)
        container.stops += 1
        try:
            await self._units.stop(container.unit)
        except HostSilent as error:
            container.note_problem(error)
            self._events.container_changed(container, "Problem")
        finally:
            container.stops -= 1
            self._unit_changed(container)

    def _connected(self, container: Container, guest: Guest) -> None:
        if container.guest is not guest:
            if container.guest is not None:
                # The run before this one ended unheard.
                self._background.spawn(container.guest.close())
                container.guest = None
                self.guest_lost(container)
            container.guest = guest
            container.invocation_id = guest.invocation_id
            guest.on_closed(lambda: self._guest_closed(container, guest))
        container.note_problem(None)
        self._set_state(container, ContainerState.RUNNING)
        self.guest_ready(container)
        self.look_at_sessions(container)

    def _guest_closed(self, container: Container, guest: Any) -> None:
        # The lost connection is often the first that is heard of an end. The guest still holds the container's root,
        # which without this would be kept mounted for ever.
        self._background.spawn(guest.close())
        if container.guest is guest:
            container.guest = None
            self.guest_lost(container)
            self._unit_changed(container)

    async def apply_policy(self, policy: Policy) -> None:
        """Take a new policy; containers that it no longer names vanish for callers, what runs is left."""
        before, self.policy = self.policy, policy
        for (name, _), container in list(self._known.items()):
            fresh = policy.containers.get(name)
            if fresh is not None:
                old, container.policy = container.policy, fresh
                changes = {"Grants": old.grants != fresh.grants, "User": old.user != fresh.user}
                changes["Menu"] = old.menu != fresh.menu
                if changed := [name for name, is_other in changes.items() if is_other]:
                    self._events.container_changed(container, *changed)
        for name, fresh in policy.containers.items():
            earlier = before.containers.get(name)
            if earlier is None or earlier.unit != fresh.unit or name not in self._chosen:
                await self._choose(name)
