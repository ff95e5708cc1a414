"""Starts of containers: one shared job for all who wait, ready when the container's own bus answers."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from isod.core.background import Background
from isod.core.container import Container
from isod.core.events import Events
from isod.core.leftovers import Leftovers
from isod.core.nspawn_failures import known_reason
from isod.nspawn_root import StartGuard, booted_directory
from isod.ports import DESTRUCTIVE, AuditSink, Caller, Guest, GuestConnector, HostUnits, UnitLog
from isod.shortage import shortage_of
from isod_contract.errors import ContainerGone, HostSilent, IsodError, LimitExceeded, StartFailed, StartTimeout
from isod_contract.limits import GUEST_CONNECT_TIMEOUT_SEC
from isod_contract.records import CONTAINER_START
from isod_contract.states import ContainerState

_STARTING = "its unit is still starting"
_RETRY_FIRST_SEC = 0.02
_RETRY_MOST_SEC = 0.25
# Of a container that is up and was not to be connected to.
_ADOPT_FIRST_SEC, _ADOPT_MOST_SEC = 1.0, 60.0


class Starts:
    """Starts containers, and connects to those that somebody else started."""

    def __init__(
        self,
        *,
        units: HostUnits,
        door: GuestConnector,
        audit: AuditSink,
        events: Events,
        unit_log: UnitLog,
        guard: StartGuard,
        leftovers: Leftovers,
        connected: Callable[[Container, Guest], None],
    ) -> None:
        """Take the ports, and who is told of a container that answers."""
        self._units = units
        self._door = door
        self._audit = audit
        self._events = events
        self._unit_log = unit_log
        self._guard = guard
        self._leftovers = leftovers
        self._connected = connected
        self._background = Background()
        self._timers: dict[Container, asyncio.TimerHandle] = {}

    async def close(self) -> None:
        """End what is under way here; jobs that systemd has go on."""
        for container in list(self._timers):
            self._forget_timer(container)
        await self._background.close()

    def _forget_timer(self, container: Container) -> None:
        timer = self._timers.pop(container, None)
        if timer is not None:
            timer.cancel()

    def adopt(self, container: Container) -> None:
        """Begin to connect to a container that somebody else started, unless that is under way."""
        if container.starting is None:
            container.starting = self._background.spawn(self._adopt(container))

    async def _adopt(self, container: Container) -> Guest | None:
        try:
            return await self._connect(container, time.monotonic() + container.policy.start_timeout_sec)
        except IsodError as error:
            self._note_problem(container, error)
            if isinstance(error, ContainerGone):
                return None
            self._adopt_later(container)
            # It is up: whoever waits could only start to connect once more.
            raise
        finally:
            container.starting = None

    def _adopt_later(self, container: Container) -> None:
        """Try again, later and later: apps may run in it, and nothing need be told of it any more."""
        pause_sec = min(_ADOPT_MOST_SEC, _ADOPT_FIRST_SEC * 2 ** min(container.silences, 10))
        container.silences += 1
        self._forget_timer(container)
        self._timers[container] = asyncio.get_running_loop().call_later(pause_sec, self._adopt_again, container)

    def _adopt_again(self, container: Container) -> None:
        self._forget_timer(container)
        if container.guest is None and container.state is ContainerState.STARTING:
            self.adopt(container)

    async def ensure_running(self, container: Container, caller: Caller) -> Any:
        """Give the guest of a running container, started if need be; all waiters share one start job.

        Raises StartFailed, StartTimeout, Unsupported, IdentityMismatch, UnsafePath, ContainerGone.
        """
        while not _usable(container):
            if container.starting is None:
                container.starting = self._background.spawn(self._start(container, caller))
            # Shielded: one waiter that leaves must not take the start away from the others. What is waited for may
            # be an adoption of what just ended; then the first to wake starts, and the others wait for that start.
            guest = await asyncio.shield(container.starting)
            if guest is not None:
                return guest
        return container.guest

    async def _start(self, container: Container, caller: Caller) -> Guest:
        deadline = time.monotonic() + container.policy.start_timeout_sec
        began_usec = time.time_ns() // 1000
        try:
            container.note_problem(None)
            is_new = await self._run_job_twice(container, caller, deadline, began_usec)
            try:
                return await self._connect(container, deadline)
            except ContainerGone:
                if is_new or container.stops:
                    raise
            # It was going down, by whatever was done inside: what was asked for is one that runs.
            await self._run_job_twice(container, caller, deadline, began_usec)
            return await self._connect(container, deadline)
        except IsodError as fault:
            error = await self._explained(container, fault)
            if isinstance(error, (StartFailed, StartTimeout)) and not error.root_detail:
                lines = await self._unit_log.last_lines(container.unit, began_usec)
                if error is fault and (known := known_reason(lines)):
                    error = StartFailed(container=container.name, reason=known)
                error.root_detail = f"its journal ends with: {' | '.join(lines)}" if lines else ""
            if not container.stops:
                # Else it is what somebody wanted, and no problem.
                self._note_problem(container, error)
            raise error from None
        finally:
            container.starting = None

    async def _explained(self, container: Container, error: IsodError) -> IsodError:
        """Give the fact behind a failed start where the container's own files have it.

        systemd tells no more than that the unit is inactive.
        """
        if container.stops or not isinstance(error, (StartFailed, ContainerGone)):
            return error
        try:
            settings = await self._units.settings(container.unit)
            root = booted_directory(settings.command)
            lack = await self._guard.lack(root, container.name) if root else ""
        except (TimeoutError, IsodError):
            return error
        return StartFailed(container=container.name, reason=lack) if lack else error

    async def _run_job_twice(self, container: Container, caller: Caller, deadline: float, began_usec: int) -> bool:
        """Once more only if what the run before left behind was in the way; tells whether it did not run before."""
        try:
            return await self._run_job(container, caller, deadline)
        except StartFailed:
            lines = await self._unit_log.last_lines(container.unit, began_usec)
            if not await self._leftovers.clear(container, lines):
                raise
            return await self._run_job(container, caller, deadline)

    def _note_problem(self, container: Container, error: IsodError) -> None:
        container.note_problem(error)
        self._events.container_changed(container, "Problem")

    async def _run_job(self, container: Container, caller: Caller, deadline: float) -> bool:
        status = await self._units.status(container.unit)
        if status.load_state != "loaded":
            raise StartFailed(container=container.name, reason=f"unit {container.unit} is {status.load_state}")
        if status.active_state == "active" and container.state is not ContainerState.STOPPING:
            return False
        if status.active_state == "deactivating":
            # Waits for the end that is under way. A start queued now would fail with it if that end is a failure.
            await self._until(self._units.stop(container.unit), container, deadline, "its unit is still stopping")
        if status.active_state in ("inactive", "failed", "deactivating"):
            await self._guard.check(container.machine, container.name)
        self._audit.record(CONTAINER_START, uid=caller.uid, container=container.name, unit=container.unit)
        result = await self._until(self._units.start(container.unit), container, deadline, _STARTING)
        if result == DESTRUCTIVE:
            # An end began after its state was read; after that it can start.
            await self._until(self._units.stop(container.unit), container, deadline, "its unit is still stopping")
            result = await self._until(self._units.start(container.unit), container, deadline, _STARTING)
        if result == DESTRUCTIVE:
            reason = "systemd is ending what it needs, as when the host shuts down; see `systemctl list-jobs`"
            raise StartFailed(container=container.name, reason=reason)
        if result == "canceled":
            # By systemd, for a stop that was asked for meanwhile: of us, of an administrator, of the host's shutdown.
            raise ContainerGone(container=container.name, reason="it was stopped while it started")
        if result != "done":
            raise StartFailed(
                container=container.name, reason=f"{container.unit}: {result}; see `systemctl status {container.unit}`"
            )
        return True

    async def _until(self, job: Coroutine[Any, Any, str], container: Container, deadline: float, late: str) -> str:
        """Wait for a job; it is left to systemd when we stop waiting. Raises StartTimeout."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._background.spawn(job)), deadline - time.monotonic())
        except TimeoutError:
            raise _timeout(container, late) from None

    async def _connect(self, container: Container, deadline: float) -> Guest:
        """Connect until the container's own bus answers: that is what ready means."""
        began_sec, pause_sec = time.monotonic(), _RETRY_FIRST_SEC
        while True:
            status = await self._units.status(container.unit)
            if status.active_state not in ("active", "reloading", "activating"):
                raise ContainerGone(container=container.name, reason=f"{container.unit} is {status.active_state}")
            try:
                guest: Guest | None = container.guest  # of a stop that was taken back
                if guest is None or guest.closed or guest.invocation_id != status.invocation_id:
                    guest = await self._door.connect(container.machine, container.unit, status.invocation_id)
            except (StartFailed, ContainerGone, HostSilent, LimitExceeded, OSError, RuntimeError) as fault:
                # A shortage of descriptors or threads passes too; anything else of the kind is a fault of ours.
                error = fault if isinstance(fault, IsodError) else shortage_of(fault)
                if error is None:
                    raise
                next_sec = time.monotonic() + pause_sec
                if next_sec > deadline:
                    reason = error.text if isinstance(error, HostSilent) else error.fields["reason"]
                    raise _timeout(container, reason) from None
                if next_sec > began_sec + GUEST_CONNECT_TIMEOUT_SEC and await self._units.has_booted(container.unit):
                    # What says that it is up has no boot left to wait for: its bus is stuck, or hostile.
                    raise error from None
                await asyncio.sleep(pause_sec)
                pause_sec = min(pause_sec * 1.5, _RETRY_MOST_SEC)
            else:
                container.silences = 0
                self._forget_timer(container)
                self._connected(container, guest)
                return guest


def _usable(container: Container) -> bool:
    return container.guest is not None and not container.guest.closed and container.state is not ContainerState.STOPPING


def _timeout(container: Container, reason: str) -> StartTimeout:
    return StartTimeout(
        container=container.name,
        timeout_sec=container.policy.start_timeout_sec,
        reason=reason,
        unit=container.unit,
    )
