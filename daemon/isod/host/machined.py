"""The host's machined: registrations and uid maps (org.freedesktop.machine1(5)).

It answers one call at a time, for everybody, so it is asked for nothing that a container decides: OpenMachinePTY and
OpenMachineRootDirectory open what stands in a container, and wait for whoever answers there.
"""

from isod.host.properties import read_properties
from isod.ports import MachineStatus
from isod_contract.errors import ContainerGone, HostSilent, Unsupported
from isod_contract.limits import HOST_CALL_TIMEOUT_SEC
from isod_wire import Connection, RemoteError, WireError

_NAME = "org.freedesktop.machine1"
_PATH = "/org/freedesktop/machine1"
_MANAGER = "org.freedesktop.machine1.Manager"
_MACHINE = "org.freedesktop.machine1.Machine"
# Below this a uid is the host's own; nspawn picks shifts in multiples of it (systemd-nspawn(1), --private-users=).
_UID_RANGE = 65536
# Also of the object of one that has just ended.
_NOT_THERE = frozenset({"org.freedesktop.machine1.NoSuchMachine", "org.freedesktop.DBus.Error.UnknownObject"})
_NO_MAPPING = "org.freedesktop.machine1.NoSuchUserMapping"


class Machined:
    """Adapter of `Machines` over the system bus."""

    def __init__(self, connection: Connection) -> None:
        """Take the system bus connection."""
        self._connection = connection

    async def status(self, machine: str) -> MachineStatus | None:
        """Read a machine's registration; None where none of that name exists. Raises HostSilent."""
        try:
            with await self._connection.call(_NAME, _PATH, _MANAGER, "GetMachine", "s", [machine], expect="o") as reply:
                path = str(reply.body[0])
            properties = await read_properties(
                self._connection, _NAME, path, _MACHINE, timeout_sec=HOST_CALL_TIMEOUT_SEC
            )
        except WireError as error:
            if isinstance(error, RemoteError) and error.name in _NOT_THERE:
                return None
            raise HostSilent(service="machined", reason=str(error)) from None
        return MachineStatus(
            name=str(properties["Name"]),
            unit=str(properties["Unit"]),
            machine_class=str(properties["Class"]),
            service=str(properties["Service"]),
            leader_pid=int(properties["Leader"]),
            owner_uid=int(properties.get("UID", 0)),
        )

    async def terminate(self, machine: str) -> None:
        """End what is left of a machine; nothing happens where nothing is. Raises HostSilent."""
        try:
            with await self._connection.call(_NAME, _PATH, _MANAGER, "TerminateMachine", "s", [machine]):
                return
        except RemoteError:
            return
        except WireError as error:
            raise HostSilent(service="machined", reason=str(error)) from None

    async def uid_shift(self, machine: str) -> int:
        """Give the host uid of the machine's uid 0; machined maps a machine without a user namespace one to one."""
        try:
            shift = await self._map(machine, 0)
        except RemoteError as error:
            if error.name == _NO_MAPPING:
                raise Unsupported(what=f"uid map of {machine}", reason="its root is no user of the host") from None
            if error.name in _NOT_THERE:
                raise ContainerGone(container=machine, reason=error.text) from None
            raise HostSilent(service="machined", reason=str(error)) from None
        except WireError as error:
            raise HostSilent(service="machined", reason=str(error)) from None
        if 0 < shift < _UID_RANGE:
            raise Unsupported(what=f"uid map of {machine}", reason=f"its root is the host's uid {shift}")
        return shift

    async def maps(self, machine: str, uid: int) -> bool:
        """Tell whether a uid inside is one of the host's; where machined does not say so, it is not."""
        try:
            await self._map(machine, uid)
        except WireError:
            return False
        return True

    async def _map(self, machine: str, uid: int) -> int:
        arguments = [machine, uid]
        with await self._connection.call(
            _NAME, _PATH, _MANAGER, "MapFromMachineUser", "su", arguments, expect="u"
        ) as reply:
            return int(reply.body[0])
