"""A container's own systemd, over one checked connection to its bus; all that comes from there is untrusted."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from isod.core.background import Background
from isod.desktop_entry import Application
from isod.host import rootfs
from isod.host.accounts import AccountCache
from isod.host.applications import read_applications
from isod.host.guest_calls import GuestCalls
from isod.host.jobs import Jobs
from isod.host.locales import locale_names
from isod.host.logind import Logind
from isod.host.offload import Offload
from isod.host.patient_calls import PatientCalls
from isod.host.properties import read_properties
from isod.host.terminfo import first_known
from isod.host.time_zone import host_zone, zone_to_tell
from isod.host.unit_signals import UnitSignals
from isod.host.unitpath import IS_DESTRUCTIVE, MANAGER_INTERFACE, SYSTEMD, SYSTEMD_PATH, UNIT_EXISTS, unit_path
from isod.ports import Account
from isod_contract.errors import ContainerGone, IsodError, StartFailed
from isod_contract.limits import GUEST_CALL_TIMEOUT_SEC
from isod_contract.names import PEER
from isod_wire import CallTimeout, Connection, MatchRule, Message, RemoteError, Variant, WireError

_log = logging.getLogger(__name__)

_BUS = "org.freedesktop.DBus"
_CURRENT_SYSTEM = "run/current-system"


UIDS_OF_HOST = 1 << 32


class GuestManager:
    """Adapter of `Guest`."""

    def __init__(
        self,
        *,
        connection: Connection,
        root_fd: int,
        pidfd: int,
        uid_shift: int,
        unit: str,
        invocation_id: str,
        machine: str,
        uid_count: int = UIDS_OF_HOST,
    ) -> None:
        """Take over a checked connection, the root fd that it was reached through, and the pidfd of its peer."""
        self.unit = unit
        self.invocation_id = invocation_id
        self.machine = machine
        self.root_fd = root_fd
        self.pidfd = pidfd
        self.uid_shift = uid_shift
        self.uid_count = uid_count
        self.offload = Offload(machine)
        calls = GuestCalls(connection)
        self.logins = Logind(calls)
        self.system = ""
        self.ended_sessions: set[int] = set()
        self._accounts = AccountCache(root_fd, machine)
        self._connection = calls
        self._manager = PatientCalls(calls, is_patient=False)
        self._jobs = Jobs(self._manager)
        self._unit_signals = UnitSignals(calls)
        self._background = Background()
        self._closing: asyncio.Task[None] | None = None
        self._looking = self._look_wanted = False

    async def open(self) -> None:
        """Subscribe to its systemd; that this answers is what "the container is ready" means."""
        await self._unit_signals.open()
        await self._jobs.open()
        rule = MatchRule(sender=_BUS, interface=_BUS, member="NameOwnerChanged", arg0=SYSTEMD)
        await self._connection.add_match(rule, self._owner_changed)
        self._manager.is_patient = True
        await self.look_at_system()

    def _owner_changed(self, message: Message) -> None:
        if message.signature == "sss" and message.body[2]:
            self._look_wanted = True
            if not self._looking:
                self._looking = True
                self._background.spawn(self._look_until_quiet())

    async def _look_until_quiet(self) -> None:
        # One at a time, and no more than one a second, however often a hostile bus says so.
        try:
            while self._look_wanted:
                self._look_wanted = False
                await self._look_again()
                await asyncio.sleep(1.0)
        finally:
            self._looking = False

    async def _look_again(self) -> None:
        """Its systemd has executed itself anew: subscribe again, and find what nobody was told of meanwhile."""
        try:
            await self.call_manager("Subscribe", "", [])
            await self._jobs.look_again()
            for path in self._unit_signals.watched():
                found: dict[str, Any] = {}
                for interface in ("Service", "Unit"):
                    found |= await read_properties(
                        self._manager, SYSTEMD, path, f"{SYSTEMD}.{interface}", timeout_sec=GUEST_CALL_TIMEOUT_SEC
                    )
                self._unit_signals.tell(path, found)
        except (WireError, IsodError) as error:
            _log.info("guest.not_looked_at_again", extra={"container": self.machine, "reason": str(error)})

    async def look_at_system(self) -> None:
        """Note which system it runs, if it is NixOS: a path of the store, as it says itself."""
        try:
            self.system = await self.offload.run(lambda: rootfs.read_link(self.root_fd, _CURRENT_SYSTEM))
        except IsodError:
            self.system = ""

    async def account(self, name: str) -> Account | None:
        """Look up an account inside. Raises UnsafePath."""
        return await self.offload.run(lambda: self._accounts.find(name))

    async def locales(self) -> frozenset[str]:
        """Give the names of the locales inside, as `locale -a` writes them; none where that can't be told."""
        return await self.offload.run(lambda: locale_names(self.root_fd))

    async def time_zone(self) -> str:
        """Give the host's time zone if the container shows another one and knows that one; else ""."""
        return await self.offload.run(lambda: zone_to_tell(self.root_fd, host_zone()))

    async def terminal_type(self, account: Account, names: Iterable[str]) -> str:
        """Give the first of these terminals that programs of the account know; "" for none."""
        return await self.offload.run(lambda: first_known(self.root_fd, account, names))

    async def applications(
        self, account: Account, languages: Sequence[str], desktops: Sequence[str]
    ) -> list[Application]:
        """Read the desktop entries inside, for a menu in these languages on these desktops."""
        shift = self.uid_shift
        return await self.offload.run(
            lambda: read_applications(self.root_fd, account, languages, desktops, uid_shift=shift)
        )

    async def start_unit(
        self, unit: str, properties: Sequence[tuple[str, str, Any]], fds: Sequence[int] = ()
    ) -> asyncio.Future[str] | None:
        """Queue the start of a transient unit; gives its job's result later, None if the unit exists already."""
        body: list[Any] = [
            unit,
            "fail",
            [[name, Variant(signature, value)] for name, signature, value in properties],
            [],
        ]
        try:
            if fds:
                # A systemd that is frozen must not be given them: it would hold them for as long as it is.
                await self.call_manager("Ping", "", [], interface=PEER)
            return await self._jobs.queue(
                "StartTransientUnit",
                "ssa(sv)a(sa(sv))",
                body,
                fds=tuple(fds),
                timeout_sec=GUEST_CALL_TIMEOUT_SEC,
            )
        except RemoteError as error:
            if error.name == UNIT_EXISTS:
                return None
            if error.name == IS_DESTRUCTIVE:
                raise ContainerGone(container=self.machine, reason="it is shutting down") from None
            raise StartFailed(container=self.machine, reason=f"its systemd refused the app ({error.text})") from None
        except WireError as error:
            gone = self._gone(error)
            # What it never answers it may have; a connection that is gone took along what was not read yet.
            holds = fds and isinstance(error, CallTimeout)
            held = "; pipes that it was given it holds until it answers or stops" if holds else ""
            raise ContainerGone(container=self.machine, reason=f"{gone.fields['reason']}{held}") from None

    async def queue_existing(self, member: str, unit: str) -> None:
        """Queue a job (`StartUnit`, `RestartUnit`) for a unit that is loaded inside, without waiting for it."""
        await self._quietly(member, "ss", [unit, "replace"])

    async def call_manager(
        self,
        member: str,
        signature: str,
        body: Sequence[Any],
        *,
        interface: str = MANAGER_INTERFACE,
        expect: str | None = None,
    ) -> list[Any]:
        """Call its systemd's Manager. Raises RemoteError; ContainerGone when there is no answer."""
        try:
            with await self._manager.call(
                SYSTEMD,
                SYSTEMD_PATH,
                interface,
                member,
                signature,
                body,
                timeout_sec=GUEST_CALL_TIMEOUT_SEC,
                expect=expect,
            ) as reply:
                return reply.body
        except RemoteError:
            raise
        except WireError as error:
            raise self._gone(error) from None

    async def running_units(self, pattern: str) -> list[str]:
        """Give the names of the units inside that run or are about to, by a pattern. Raises ContainerGone."""
        try:
            listed = await self.call_manager(
                "ListUnitsByPatterns", "asas", [["active", "activating"], [pattern]], expect="a(ssssssouso)"
            )
        except RemoteError as error:
            raise ContainerGone(container=self.machine, reason=f"its systemd lists no units ({error.text})") from None
        return [str(unit[0]) for unit in listed[0]]

    async def processes(self, unit: str) -> dict[int, str]:
        """Give a unit's processes as the container numbers them, with their command lines; none where it is gone."""
        try:
            listed = await self.call_manager("GetUnitProcesses", "s", [unit], expect="a(sus)")
        except RemoteError:
            return {}
        return {int(pid): str(command) for _, pid, command in listed[0]}

    async def kill_unit(self, unit: str, signal_number: int) -> None:
        """Send a signal to all processes of a unit; nothing happens where it is gone."""
        await self._quietly("KillUnit", "ssi", [unit, "all", signal_number])

    async def stop_unit(self, unit: str) -> None:
        """Queue the stop of a unit; nothing happens where it is gone."""
        await self._quietly("StopUnit", "ss", [unit, "replace"])

    async def reset_failed(self, unit: str) -> None:
        """Let a failed unit be forgotten."""
        await self._quietly("ResetFailedUnit", "s", [unit])

    async def _quietly(self, member: str, signature: str, body: list[Any]) -> None:
        try:
            await self.call_manager(member, signature, body)
        except RemoteError:
            return

    async def unit_properties(self, unit: str, interface: str) -> dict[str, Any]:
        """Read the properties of a unit's interface, `Unit` or `Service`, as plain values."""
        try:
            return await read_properties(
                self._manager,
                SYSTEMD,
                unit_path(unit),
                f"{SYSTEMD}.{interface}",
                timeout_sec=GUEST_CALL_TIMEOUT_SEC,
            )
        except WireError as error:
            raise self._gone(error) from None

    async def watch_unit(self, unit: str, changed: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """Pass on each PropertiesChanged of the unit as plain values. Raises ContainerGone."""
        if self.closed:
            raise ContainerGone(container=self.machine, reason="the connection to its systemd is lost")
        return self._unit_signals.watch(unit, changed)

    async def has_unit(self, unit: str) -> bool:
        """Tell whether a unit can be started inside: loaded, and not masked."""
        return bool((await self.unit_properties(unit, "Unit")).get("LoadState") == "loaded")

    def _gone(self, error: WireError) -> ContainerGone:
        return ContainerGone(container=self.machine, reason=f"its systemd does not answer ({error})")

    def on_closed(self, closed: Callable[[], None]) -> None:
        """Call back once when the connection is lost."""

        async def wait() -> None:
            await self._connection.wait_closed()
            self._jobs.fail_all()
            closed()

        self._closing = asyncio.get_running_loop().create_task(wait(), name=f"guest {self.machine}")

    @property
    def closed(self) -> bool:
        """Whether the connection is lost."""
        return self._connection.closed

    async def close(self) -> None:
        """Drop the connection and the descriptors."""
        await self._background.close()
        await self._connection.close()
        await self.offload.close()
        if self.root_fd >= 0:
            os.close(self.root_fd)
            os.close(self.pidfd)
            self.root_fd = self.pidfd = -1
