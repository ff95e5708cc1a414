"""The way into a container: its bus, reached by descriptor, and proof that the container itself listens there."""

import asyncio
import os
import socket
import struct
import threading
from typing import Protocol

from isod.core.background import Background
from isod.host import rootfs
from isod.host.guest import UIDS_OF_HOST, GuestManager
from isod.host.offload import Offload
from isod.ports import HostUnits, Machines, MachineStatus
from isod_contract.errors import ContainerGone, IdentityMismatch, IsodError, StartFailed, Unsupported
from isod_contract.limits import GUEST_CONNECT_TIMEOUT_SEC
from isod_wire import CONTAINER_CAPS, Connection, WireError, connect

_SO_PEERPIDFD = 77  # socket(7), Linux 6.5; Python has no name for it
_USUAL_UID_COUNT = 65536  # of a user namespace, systemd-nspawn(1)
_BUS_SOCKET = "run/dbus/system_bus_socket"


class DoorHelper(Protocol):
    """What takes rights that isod does not have (isod-helper)."""

    async def open_root(self, pidfd: int) -> int:
        """Give the root of the container that a process is in, as a path only. Raises OSError."""

    async def connect_bus(self, socket_path_fd: int, uid: int) -> socket.socket:
        """Connect to the bus of a user-namespaced container as its root. Raises IsodError or OSError."""


class GuestDoor:
    """Adapter of `GuestConnector`: root by pidfd, openat2, connect by fd, then proof of who listens."""

    def __init__(self, *, machines: Machines, units: HostUnits, helper: DoorHelper) -> None:
        """Take the ports."""
        self._machines = machines
        self._units = units
        self._helper = helper
        self._offloads: dict[str, Offload] = {}
        self._had_bus: dict[str, str] = {}  # by machine, the invocation in which a bus was met
        self._background = Background()

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
        root_fd = await self._open_root(status, invocation_id)
        try:
            shift = await self._machines.uid_shift(machine)
            is_usual = shift and not await self._machines.maps(machine, _USUAL_UID_COUNT)
            sock = await self._connect_socket(status, invocation_id, root_fd, shift)
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
                    uid_count=_USUAL_UID_COUNT if is_usual else UIDS_OF_HOST,
                )
                await self._open(guest)
        except TimeoutError:
            reason = f"its bus does not answer within {GUEST_CONNECT_TIMEOUT_SEC:.0f} s"
            raise StartFailed(container=machine, reason=reason) from None
        self._had_bus[machine] = invocation_id
        return guest

    async def _open(self, guest: GuestManager) -> None:
        """Subscribe to its systemd; else everything that belongs to it is closed. Raises StartFailed."""
        try:
            await guest.open()
        except BaseException as error:
            # Not waited for: work on files that never answer may keep it open for ever, and a launch waits for this.
            self._background.spawn(guest.close())
            if isinstance(error, WireError):
                raise StartFailed(container=guest.machine, reason=f"its systemd does not answer ({error})") from None
            raise

    async def _open_root(self, status: MachineStatus, invocation_id: str) -> int:
        """Give the root of the container whose first process machined names, once systemd says that it is one of it.

        Raises ContainerGone, IdentityMismatch, StartFailed.
        """
        machine = status.name
        try:
            pidfd = os.pidfd_open(status.leader_pid)
        except ProcessLookupError:
            raise ContainerGone(container=machine, reason="its first process has ended") from None
        try:
            found = await self._units.unit_of_pidfd(pidfd)
            if found != (status.unit, invocation_id):
                raise IdentityMismatch(container=machine, reason=f"its first process belongs to {found[0]}")
            return await self._helper.open_root(pidfd)
        except OSError as error:
            raise StartFailed(container=machine, reason=f"its root can't be entered ({error.strerror})") from None
        finally:
            os.close(pidfd)

    async def _find_socket(self, machine: str, root_fd: int) -> int | None:
        """Walk to its bus, from a descriptor that is the walk's own: one that is stuck may go on for ever."""
        # One for all attempts: else each that meets a file system which never answers would leave a thread behind.
        offload = self._offloads.setdefault(machine, Offload(machine))
        walk_fd = os.dup(root_fd)
        begun, wanted = threading.Lock(), threading.Lock()

        def find() -> int | None:
            if not begun.acquire(blocking=False):
                return None
            try:
                found = rootfs.open_socket(walk_fd, _BUS_SOCKET, machine)
            finally:
                os.close(walk_fd)
            if found is not None and not wanted.acquire(blocking=False):
                os.close(found)
            return found

        try:
            return await offload.run(find)
        except BaseException:
            # Whoever takes a lock first has the descriptor: nobody may close one that the other still uses.
            if begun.acquire(blocking=False):
                os.close(walk_fd)
            wanted.acquire(blocking=False)
            raise

    async def _connect_socket(
        self, status: MachineStatus, invocation_id: str, root_fd: int, shift: int
    ) -> socket.socket:
        machine = status.name
        path_fd = await self._find_socket(machine, root_fd)
        if path_fd is None and await self._units.has_booted(status.unit):
            # A bus that is not there when the boot is over will not come by itself: worth a second look, no waiting.
            path_fd = await self._find_socket(machine, root_fd)
            if path_fd is None and self._had_bus.get(machine) == invocation_id:
                raise ContainerGone(container=machine, reason="it is shutting down: its bus has ended")
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


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
