"""The socket units of isod-helper: connects to one, and has it listen again where its file was lost."""

import os
import socket
from typing import Protocol

from isod.host import helper_socket
from isod.ports import UnitStatus
from isod_contract.errors import HostSilent


class SocketUnits(Protocol):
    """The host's systemd, as far as it is needed here."""

    async def status(self, unit: str) -> UnitStatus:
        """Read a unit's state. Raises HostSilent."""

    async def restart(self, unit: str) -> str:
        """Restart it; gives the job's result. Raises HostSilent."""


class HelperUnits:
    """Opens connections to isod-helper's sockets."""

    def __init__(self, units: SocketUnits | None = None) -> None:
        """Take systemd; without it nothing is mended."""
        self._units = units

    async def connect(self, path: str) -> socket.socket:
        """Connect to one of the sockets. Raises OSError, whose text says what to do where its unit does not listen."""
        try:
            return helper_socket.connect(path)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            # Whatever empties /run/isod takes the file, and systemd goes on to say that the unit listens.
            unit = f"isod-{os.path.basename(path)}.socket"
            if not await self._listens_again(unit):
                text = f"{unit} does not listen; `systemctl restart {unit}`"
                raise type(error)(error.errno, text) from None
        return helper_socket.connect(path)

    async def _listens_again(self, unit: str) -> bool:
        if self._units is None:
            return False
        try:
            # One that an administrator stopped or masked stays as it is.
            return (await self._units.status(unit)).active_state == "active" and (
                await self._units.restart(unit) == "done"
            )
        except HostSilent:
            return False
