"""The host's systemd: state, start and stop of container units (org.freedesktop.systemd1(5))."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from isod.host.jobs import Jobs
from isod.host.patient_calls import PatientCalls
from isod.host.processes import command_of
from isod.host.properties import read_properties
from isod.host.unitpath import (
    IS_DESTRUCTIVE,
    MANAGER_INTERFACE,
    PROPERTIES_INTERFACE,
    SYSTEMD,
    SYSTEMD_PATH,
    UNIT_INTERFACE,
    unit_path,
)
from isod.ports import DESTRUCTIVE, UnitSettings, UnitStatus
from isod_contract.errors import HostSilent, IdentityMismatch, Unsupported
from isod_contract.limits import HOST_CALL_TIMEOUT_SEC
from isod_wire import Connection, MatchRule, Message, RemoteError, Variant, WireError

_MANAGER = (SYSTEMD, SYSTEMD_PATH, MANAGER_INTERFACE)
_ENDED = frozenset({"inactive", "failed"})
# nspawn's words (src/nspawn/nspawn.c) and, after them, the two that PID 1 has had for the end of the boot.
_BOOTED = ("Container running: Ready.", "Container running: Startup finished")


class SystemdUnits:
    """Adapter of `HostUnits` over the system bus."""

    def __init__(self, connection: Connection) -> None:
        """Take the system bus connection."""
        self._connection = PatientCalls(connection)
        self._jobs = Jobs(self._connection)
        self._watchers: dict[str, set[Callable[[], None]]] = {}
        self._background: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Subscribe to the manager, and again whenever it comes back from a daemon-reexec under a new name."""
        await self._jobs.open()
        await self._connection.add_match(
            MatchRule(
                sender="org.freedesktop.DBus",
                interface="org.freedesktop.DBus",
                member="NameOwnerChanged",
                arg0=SYSTEMD,
            ),
            self._owner_changed,
        )

    def _owner_changed(self, message: Message) -> None:
        if message.body[2]:
            task = asyncio.get_running_loop().create_task(self._resubscribe())
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _resubscribe(self) -> None:
        try:
            await self._connection.call(SYSTEMD, SYSTEMD_PATH, MANAGER_INTERFACE, "Subscribe", timeout_sec=25.0)
            await self._jobs.look_again()
        except WireError:
            return
        # What changed while nobody was subscribed is unknown: everybody looks again.
        for watchers in list(self._watchers.values()):
            for changed in list(watchers):
                changed()

    async def version(self) -> str:
        """Give the version as systemd writes it. Raises WireError."""
        with await self._connection.call(
            SYSTEMD,
            SYSTEMD_PATH,
            PROPERTIES_INTERFACE,
            "Get",
            "ss",
            [MANAGER_INTERFACE, "Version"],
            timeout_sec=HOST_CALL_TIMEOUT_SEC,
            expect="v",
        ) as reply:
            return str(reply.body[0].value)

    async def status(self, unit: str) -> UnitStatus:
        """Read a unit's state. Raises HostSilent where systemd does not answer."""
        properties = await self._properties(unit, UNIT_INTERFACE)
        active_state = str(properties["ActiveState"])
        return UnitStatus(
            load_state=str(properties["LoadState"]),
            active_state=active_state,
            sub_state=str(properties["SubState"]),
            # systemd goes on to name the last one of a unit that failed, or that something else keeps loaded.
            invocation_id="" if active_state in _ENDED else bytes(properties["InvocationID"]).hex(),
        )

    async def has_booted(self, unit: str) -> bool:
        """Read what the payload's systemd told nspawn, which passes it on as the unit's status."""
        properties = await self._properties(unit, f"{SYSTEMD}.Service")
        return str(properties.get("StatusText", "")).startswith(_BOOTED)

    async def _properties(self, unit: str, interface: str) -> dict[str, Any]:
        try:
            return await read_properties(
                self._connection, SYSTEMD, unit_path(unit), interface, timeout_sec=HOST_CALL_TIMEOUT_SEC
            )
        except WireError as error:
            raise _silent(error) from None

    async def forget_restarts(self, unit: str) -> None:
        """Let the next restart of a unit be as quick as its first (systemctl(1), reset-failed). Raises HostSilent."""
        try:
            with await self._connection.call(
                *_MANAGER, "ResetFailedUnit", "s", [unit], timeout_sec=HOST_CALL_TIMEOUT_SEC
            ):
                return
        except WireError as error:
            raise _silent(error) from None

    async def settings(self, unit: str) -> UnitSettings:
        """Read how a unit is set up, with the command of its main process if that runs. Raises TimeoutError."""
        values: dict[str, Any] = {}
        try:
            for interface in (UNIT_INTERFACE, f"{SYSTEMD}.Service"):
                values |= await read_properties(
                    self._connection, SYSTEMD, unit_path(unit), interface, timeout_sec=HOST_CALL_TIMEOUT_SEC
                )
        except WireError as error:
            raise TimeoutError(f"systemd tells nothing of {unit} ({error})") from None
        return UnitSettings(
            load_state=str(values["LoadState"]),
            active_state=str(values["ActiveState"]),
            needs_reload=bool(values["NeedDaemonReload"]),
            device_policy=str(values["DevicePolicy"]),
            device_allow=tuple((str(device), str(access)) for device, access in values["DeviceAllow"]),
            command=command_of(int(values["MainPID"])) or _configured_command(values),
        )

    async def start(self, unit: str) -> str:
        """Queue a start, wait for its job."""
        return await self._run_job("StartUnit", unit)

    async def stop(self, unit: str) -> str:
        """Queue a stop, wait for its job."""
        return await self._run_job("StopUnit", unit)

    async def restart(self, unit: str) -> str:
        """Queue a restart, wait for its job."""
        return await self._run_job("RestartUnit", unit)

    async def _run_job(self, member: str, unit: str) -> str:
        try:
            return await (await self._jobs.queue(member, "ss", [unit, "replace"], timeout_sec=HOST_CALL_TIMEOUT_SEC))
        except RemoteError as error:
            return DESTRUCTIVE if error.name == IS_DESTRUCTIVE else f"refused: {error.text}"
        except WireError as error:
            raise _silent(error) from None

    async def watch(self, unit: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Call back on each PropertiesChanged of the unit."""
        match = await self._connection.add_match(
            MatchRule(
                sender=SYSTEMD,
                path=unit_path(unit),
                interface=PROPERTIES_INTERFACE,
                member="PropertiesChanged",
                arg0=UNIT_INTERFACE,
            ),
            lambda _: changed(),
        )
        watchers = self._watchers.setdefault(unit, set())
        watchers.add(changed)

        def end() -> None:
            watchers.discard(changed)
            match.remove()

        return end

    async def allow_devices(self, unit: str, entries: Sequence[tuple[str, str]], *, only: bool) -> None:
        """Add entries to DeviceAllow, or make them all that it holds, at once and until the next boot.

        Raises Unsupported where systemd refuses, TimeoutError where it does not answer.
        """
        # An empty list empties the property; the entries of the next one are added to what is there then.
        lists: list[list[list[str]]] = [[]] if only else []
        lists += [[list(entry) for entry in entries]] if entries else []
        values = [["DeviceAllow", Variant("a(ss)", item)] for item in lists]
        try:
            await self._connection.call(
                SYSTEMD,
                SYSTEMD_PATH,
                MANAGER_INTERFACE,
                "SetUnitProperties",
                "sba(sv)",
                [unit, True, values],
                timeout_sec=HOST_CALL_TIMEOUT_SEC,
            )
        except RemoteError as error:
            raise Unsupported(what="a device", reason=f"{unit} takes no DeviceAllow ({error.text})") from None
        except WireError as error:
            raise TimeoutError(f"systemd does not say that {unit} takes DeviceAllow ({error})") from None

    async def start_transient(self, unit: str, properties: Sequence[tuple[str, str, Any]], fds: Sequence[int]) -> None:
        """Start a unit that is gone with its end. Raises Unsupported where systemd refuses, else TimeoutError."""
        wanted = [[name, Variant(kind, value)] for name, kind, value in properties]
        try:
            with await self._connection.call(
                SYSTEMD,
                SYSTEMD_PATH,
                MANAGER_INTERFACE,
                "StartTransientUnit",
                "ssa(sv)a(sa(sv))",
                [unit, "fail", wanted, []],
                fds=fds,
                timeout_sec=HOST_CALL_TIMEOUT_SEC,
            ):
                pass
        except RemoteError as error:
            raise Unsupported(what=unit, reason=f"the host's systemd refuses it ({error.text})") from None
        except WireError as error:
            raise TimeoutError(f"the host's systemd does not say that {unit} starts ({error})") from None

    async def unit_of_pidfd(self, pidfd: int) -> tuple[str, str]:
        """Give (unit, InvocationID) of the process behind a pidfd (GetUnitByPIDFD, systemd 253)."""
        try:
            with await self._connection.call(
                SYSTEMD,
                SYSTEMD_PATH,
                MANAGER_INTERFACE,
                "GetUnitByPIDFD",
                "h",
                [0],
                fds=(pidfd,),
                timeout_sec=HOST_CALL_TIMEOUT_SEC,
                expect="osay",
            ) as reply:
                _, unit, invocation_id = reply.body
        except RemoteError as error:
            raise IdentityMismatch(container="?", reason=f"its process is in no unit ({error.text})") from None
        except WireError as error:
            raise _silent(error) from None
        return str(unit), bytes(invocation_id).hex()

    async def slice_of(self, unit: str) -> str:
        """Read it from the interface of the unit's own type. Raises WireError where systemd does not answer."""
        unit_type = unit.rpartition(".")[2].capitalize()
        with await self._connection.call(
            SYSTEMD,
            unit_path(unit),
            PROPERTIES_INTERFACE,
            "Get",
            "ss",
            [f"{SYSTEMD}.{unit_type}", "Slice"],
            timeout_sec=HOST_CALL_TIMEOUT_SEC,
            expect="v",
        ) as reply:
            return str(reply.body[0].value)


def _silent(error: WireError) -> HostSilent:
    return HostSilent(service="systemd", reason=str(error))


def _configured_command(values: dict[str, Any]) -> tuple[str, ...]:
    """Give the words of ExecStart=, a `$NAME` alone replaced by the words that Environment= has for it."""
    environment = dict(entry.partition("=")[::2] for entry in values["Environment"])
    words: list[str] = []
    for entry in values["ExecStart"]:
        for word in entry[1]:
            words += environment.get(word[1:], "").split() if word.startswith("$") else [word]
    return tuple(words)
