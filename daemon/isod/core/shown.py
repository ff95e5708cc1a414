"""A container's directories below /run/isod/container, shown to it while it runs."""

import asyncio
import os
from typing import Any
from weakref import WeakKeyDictionary

from isod.core.container import Container
from isod.ports import Directories, HostUnits, Mounter
from isod_contract.errors import Unsupported
from isod_contract.names import SHOWN_DIRECTORIES


class ShownDirectories:
    """Has them inside by the unit's static binds, or mounts them now."""

    def __init__(self, directories: Directories, mounter: Mounter, units: HostUnits) -> None:
        """Take the ports."""
        self._directories = directories
        self._mounter = mounter
        self._units = units
        self._turns: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()

    async def open(self, container: Container, guest: Any, directory: str, what: str) -> int:
        """Have `run` at /run/isoctl or `dri` at /dev/dri inside, and open it; `what` needs it, for an error.

        Where there is no static bind, the unit has no drop-in that made the directory right before the container
        started, so that is done now: root in an earlier run may have spoiled it. isod itself may not mount, so systemd
        does it. Raises Unsupported, UnsafePath.
        """
        fd = await self._open_if_seen(guest, container.machine, directory)
        if fd is not None:
            return fd
        # One at a time: of two who find nothing there the second would mount over what the first did.
        async with self._turns.setdefault(guest, asyncio.Lock()):
            fd = await self._open_if_seen(guest, container.machine, directory)
            return fd if fd is not None else await self._show(container, guest, directory, what)

    async def _show(self, container: Container, guest: Any, directory: str, what: str) -> int:
        machine = container.machine
        await self.make(guest, machine)
        # /run/isoctl is nobody else's; /dev/dri may be the container's own.
        if directory == "dri" and not await guest.offload.run(
            lambda: self._directories.is_free(guest.root_fd, directory)
        ):
            place = f"/{SHOWN_DIRECTORIES[directory]}"
            reason = f"container {container.name} has a {place} of its own; take that out of its unit"
            raise Unsupported(what=what, reason=reason)
        fd = self._directories.open_shown(machine, directory)
        if fd is None:
            unit = f"isod-prepare@{machine}.service"
            raise Unsupported(what=what, reason=f"{unit} did not make its directory; see `systemctl status {unit}`")
        try:
            await self._mounter.attach_directory(machine, guest.pidfd, guest.uid_shift, directory)
        except BaseException as error:
            os.close(fd)
            if not isinstance(error, OSError):
                raise
            reason = f"its directory can't be mounted in container {container.name} ({error})"
            raise Unsupported(what=what, reason=reason) from None
        return fd

    async def make(self, guest: Any, machine: str) -> None:
        """Have the directories on the host; what the container sees already must not be made anew."""
        for directory in SHOWN_DIRECTORIES:
            fd = await self._open_if_seen(guest, machine, directory)
            if fd is not None:
                os.close(fd)
                return
        await self._units.start(f"isod-prepare@{machine}.service")

    async def _open_if_seen(self, guest: Any, machine: str, directory: str) -> int | None:
        fd = self._directories.open_shown(machine, directory)
        if fd is None:
            return None
        seen = False
        try:
            seen = await guest.offload.run(lambda: self._directories.is_seen(fd, guest.root_fd, machine, directory))
        finally:
            if not seen:
                os.close(fd)
        return fd if seen else None
