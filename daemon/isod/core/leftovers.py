"""What an earlier run of a container left behind and the next start trips on; see systemd-nspawn(1)."""

import asyncio
import logging
import re
from collections.abc import Sequence

from isod.core.container import Container
from isod.ports import Machines
from isod_contract.errors import StartFailed

_log = logging.getLogger(__name__)

# nspawn that was killed; the one that trips on it also takes it away.
_MOUNT = re.compile(r"Mount point '/run/systemd/nspawn/\S+' exists already")
# machined that has not yet seen the last run end (systemd issue 13766 and many more).
_REGISTRATION = re.compile(r"Machine '\S+' already exists|machine\S*: File exists|\.MachineExists\b")
_GONE_SEC = 5.0
_RECHECK_SEC = 0.1


class Leftovers:
    """Recognises them by what the unit's journal ends with, and clears them away."""

    def __init__(self, machines: Machines) -> None:
        """Take machined."""
        self._machines = machines

    async def clear(self, container: Container, untrusted_lines: Sequence[str]) -> bool:
        """Tell whether another start is worth it. A container that writes such lines itself gains one more start.

        Raises StartFailed where a machine that is not this container has its name; ContainerGone.
        """
        if any(_MOUNT.search(line) for line in untrusted_lines):
            _log.info("container.mount_left_behind", extra={"container": container.name})
            return True
        if not any(_REGISTRATION.search(line) for line in untrusted_lines):
            return False
        return await self._clear_registration(container)

    async def _clear_registration(self, container: Container) -> bool:
        machine = container.machine
        status = await self._machines.status(machine)
        if status is not None and status.unit != container.unit:
            raise StartFailed(
                container=container.name,
                reason=f"unit {status.unit} has registered a machine of that name; "
                f"`systemctl stop {status.unit}` ends it",
            )
        _log.info("container.registration_left_behind", extra={"container": container.name})
        if status is not None:
            await self._machines.terminate(machine)
        for _ in range(round(_GONE_SEC / _RECHECK_SEC)):
            if await self._machines.status(machine) is None:
                return True
            await asyncio.sleep(_RECHECK_SEC)
        return False
