"""A container's own systemd, over one checked connection to its bus; all that comes from there is untrusted."""

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from isod.desktop_entry import Application
from isod.host import rootfs
from isod.host.accounts import AccountCache
from isod.host.applications import read_applications
from isod.host.jobs import Jobs
from isod.host.locales import locale_names
from isod.host.logind import Logind
from isod.host.offload import Offload
from isod.host.properties import read_properties
from isod.host.unitpath import (
    MANAGER_INTERFACE,
    PROPERTIES_INTERFACE,
    SYSTEMD,
    SYSTEMD_PATH,
    UNIT_EXISTS,
    unit_path,
)
from isod.ports import Account, HostUnits, Machines
from isod_contract.errors import ContainerGone, IdentityMismatch, IsodError, StartFailed, Unsupported
from isod_contract.limits import GUEST_CALL_TIMEOUT_SEC, GUEST_CONNECT_TIMEOUT_SEC
from isod_wire import CONTAINER_CAPS, Connection, MatchRule, Message, RemoteError, Variant, WireError, connect

_SO_PEERPIDFD = 77  # socket(7), Linux 6.5; Python has no name for it
_CURRENT_SYSTEM = "run/current-system"
_BUS_SOCKET = "run/dbus/system_bus_socket"


class BusHelper(Protocol):
    """Connects to the bus of a user-namespaced container as its root."""

    async def connect_bus(self, socket_path_fd: int, uid: int) -> socket.socket:
        """Give a connected socket. Raises IsodError or OSError."""


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
    ) -> None:
        """Take over a checked connection, the root fd that it was reached through, and the pidfd of its peer."""
        self.unit = unit
        self.invocation_id = invocation_id
        self.machine = machine
        self.root_fd = root_fd
        self.pidfd = pidfd
        self.uid_shift = uid_shift
        self.offload = Offload(machine)
        self.logins = Logind(connection)
        self.system = ""
        self._accounts = AccountCache(root_fd, machine)
        self._connection = connection
        self._jobs = Jobs(connection)
        self._closing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Subscribe to its systemd; that this answers is what "the container is ready" means."""
        await self._jobs.open()
        await self.look_at_system()

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

    async def applications(self, account: Account, languages: tuple[str, ...]) -> list[Application]:
        """Read the desktop entries inside, for a menu."""
        return await self.offload.run(lambda: read_applications(self.root_fd, account, languages))

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
            raise StartFailed(container=self.machine, reason=f"its systemd refused the app ({error.text})") from None
        except WireError as error:
            raise self._gone(error) from None

    async def queue_existing(self, member: str, unit: str) -> None:
        """Queue a job (`StartUnit`, `RestartUnit`) for a unit that is loaded inside, without waiting for it."""
        await self._quietly(member, "ss", [unit, "replace"])

    async def call_manager(self, member: str, signature: str, body: Sequence[Any]) -> list[Any]:
        """Call its systemd's Manager. Raises RemoteError; ContainerGone when there is no answer."""
        try:
            with await self._connection.call(
                SYSTEMD, SYSTEMD_PATH, MANAGER_INTERFACE, member, signature, body, timeout_sec=GUEST_CALL_TIMEOUT_SEC
            ) as reply:
                return reply.body
        except RemoteError:
            raise
        except WireError as error:
            raise self._gone(error) from None

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
                self._connection,
                SYSTEMD,
                unit_path(unit),
                f"{SYSTEMD}.{interface}",
                timeout_sec=GUEST_CALL_TIMEOUT_SEC,
            )
        except WireError as error:
            raise self._gone(error) from None

    async def watch_unit(self, unit: str, changed: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """Pass on each PropertiesChanged of the unit as plain values."""

        def on_signal(message: Message) -> None:
            if message.signature == "sa{sv}as":
                changed({key: variant.value for key, variant in message.body[1].items()})

        try:
            match = await self._connection.add_match(
                MatchRule(
                    sender=SYSTEMD,
                    path=unit_path(unit),
                    interface=PROPERTIES_INTERFACE,
                    member="PropertiesChanged",
                ),
                on_signal,
            )
        except WireError as error:
            raise self._gone(error) from None
        return match.remove

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
        await self._connection.close()
        await self.offload.close()
        if self.root_fd >= 0:
            os.close(self.root_fd)
            os.close(self.pidfd)
            self.root_fd = self.pidfd = -1


class GuestDoor:
    """Adapter of `GuestConnector`: machined's root fd, openat2, connect by fd, then proof of who listens."""

    def __init__(self, *, machines: Machines, units: HostUnits, helper: BusHelper) -> None:
        """Take the ports."""
        self._machines = machines
        self._units = units
        self._helper = helper

    async def connect(self, machine: str, unit: str, invocation_id: str) -> GuestManager:
        """Connect to the bus of the machine that is this unit in this invocation.

        Raises StartFailed while it has no bus yet, Unsupported if it will have none, IdentityMismatch, UnsafePath,
        ContainerGone.
        """
        status = await self._machines.status(machine)
        if status is None:
            raise StartFailed(container=machine, reason="it is not registered with machined")
        if status.unit != unit or status.machine_class != "container" or status.owner_uid != 0:
            raise IdentityMismatch(container=machine, reason=f"machined has it as {status.machine_class} {status.unit}")
        root_fd = await self._machines.open_root(machine)
        try:
            shift = await self._machines.uid_shift(machine)
            sock = await self._connect_socket(machine, unit, root_fd, shift)
            pidfd = await self._identify(machine, sock, unit, invocation_id)
        except BaseException:
            os.close(root_fd)
            raise
        try:
            # One deadline for all that its bus has to say: each answer alone might come just in time.
            async with asyncio.timeout(GUEST_CONNECT_TIMEOUT_SEC):
                try:
                    connection = await _authenticate(machine, sock)
                except BaseException:
                    os.close(root_fd)
                    os.close(pidfd)
                    raise
                guest = GuestManager(
                    connection=connection,
                    root_fd=root_fd,
                    pidfd=pidfd,
                    uid_shift=shift,
                    unit=unit,
                    invocation_id=invocation_id,
                    machine=machine,
                )
                await _open(guest)
        except TimeoutError:
            reason = f"its bus does not answer within {GUEST_CONNECT_TIMEOUT_SEC:.0f} s"
            raise StartFailed(container=machine, reason=reason) from None
        return guest

    async def _connect_socket(self, machine: str, unit: str, root_fd: int, shift: int) -> socket.socket:
        def find() -> int | None:
            return rootfs.open_socket(root_fd, _BUS_SOCKET, machine)

        offload = Offload(machine)
        path_fd = await offload.run(find)
        if path_fd is None and await self._units.has_booted(unit):
            # A bus that is not there when the boot is over will not come by itself: worth a second look, no waiting.
            path_fd = await offload.run(find)
            if path_fd is None:
                raise Unsupported(
                    what=f"running apps in container {machine!r}",
                    reason="it has booted without a system bus; install dbus or dbus-broker in it, enable dbus.socket",
                )
        if path_fd is None:
            raise StartFailed(container=machine, reason=f"no bus at /{_BUS_SOCKET} inside")
        try:
            if shift:
                return await self._helper.connect_bus(path_fd, shift)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                # A full backlog must not block isod: EAGAIN then counts as "no bus yet".
                sock.setblocking(False)
                sock.connect(f"/proc/self/fd/{path_fd}")
            except BaseException:
                sock.close()
                raise
            return sock
        except OSError as error:
            raise StartFailed(container=machine, reason=f"its bus refuses connections ({error.strerror})") from None
        finally:
            os.close(path_fd)

    async def _identify(self, machine: str, sock: socket.socket, unit: str, invocation_id: str) -> int:
        """Prove, before a byte is sent, that the listener is a process of the container's own unit; gives its pidfd."""
        pidfd = -1
        try:
            pidfd = int(struct.unpack("i", sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, 4))[0])
            found = await self._units.unit_of_pidfd(pidfd)
            if found != (unit, invocation_id):
                raise IdentityMismatch(container=machine, reason=f"its bus belongs to {found[0]}")
        except BaseException as error:
            sock.close()
            _close(pidfd)
            if isinstance(error, OSError):
                raise IdentityMismatch(container=machine, reason=f"its bus has no living peer ({error})") from None
            raise
        return pidfd


async def _authenticate(machine: str, sock: socket.socket) -> Connection:
    """Do the handshake over a socket, which is owned from here on. Raises StartFailed."""
    try:
        return await connect(sock, caps=CONTAINER_CAPS, external_uid=0, name=f"container {machine}")
    except WireError as error:
        if isinstance(error, IsodError):
            raise
        raise StartFailed(container=machine, reason=f"its bus does not answer ({error})") from None


async def _open(guest: GuestManager) -> None:
    """Subscribe to its systemd; else everything that belongs to it is closed. Raises StartFailed."""
    try:
        await guest.open()
    except BaseException as error:
        await guest.close()
        if isinstance(error, WireError):
            raise StartFailed(container=guest.machine, reason=f"its systemd does not answer ({error})") from None
        raise


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
