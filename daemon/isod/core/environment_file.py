"""Variables as a file for EnvironmentFile= (systemd.exec(5)), since a unit's properties are there for all to read."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

from isod.core.container import Container
from isod.core.shown import ShownDirectories
from isod.ports import LaunchFiles
from isod_contract.errors import InvalidArgument
from isod_contract.names import GUEST_DIRECTORY, LAUNCH_DIRECTORY

# What systemd drops from an environment, with a line in the journal that quotes it (env_value_is_valid and
# unichar_is_valid of its source): control characters but tab and newline, and what Unicode calls noncharacters.
_DROPPED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
# Within double quotes a backslash takes their meaning from these four, and from nothing else.
_QUOTED = re.compile(r'["\\`$]')

# By then systemd has started what it was asked to start, or never will.
_STARTED_SEC = 60.0


def why_not_passable(value: str) -> str:
    """Tell why a value can't be given to a program by systemd; "" if it can."""
    found = _DROPPED.search(value)
    return f"holds U+{ord(found[0]):04X}, which systemd passes to no program" if found else ""


def content(variables: Mapping[str, str]) -> bytes:
    """Write variables so that systemd reads exactly these values. Raises InvalidArgument, which names the variable."""
    for name, value in variables.items():
        if reason := why_not_passable(value):
            raise InvalidArgument(argument="environment", reason=f"{name} {reason}")
    quoted = {name: _QUOTED.sub(r"\\\g<0>", value) for name, value in variables.items()}
    return "".join(f'{name}="{value}"\n' for name, value in quoted.items()).encode()


class EnvironmentFiles:
    """Files in containers, each for one start of a unit there; only the container's root can read them."""

    def __init__(self, shown: ShownDirectories, files: LaunchFiles) -> None:
        """Take where they lie, and who writes them."""
        self._shown = shown
        self._files = files

    def sweep(self, starting: Collection[str]) -> None:
        """Remove what an earlier isod left; what it was just starting, by these names, a little later."""
        self._files.sweep(starting)
        if starting:
            asyncio.get_running_loop().call_later(_STARTED_SEC, self._files.sweep, ())

    @contextlib.asynccontextmanager
    async def property_for(
        self, container: Container, guest: Any, name: str, variables: Mapping[str, str]
    ) -> AsyncIterator[tuple[str, str, list[list[object]]]]:
        """Give the unit's property that leads to its variables; the file is there until this ends.

        Raises InvalidArgument for a value that no unit can have, NoSpace, UnsafePath, Unsupported.
        """
        data = content(variables)
        run_fd = await self._shown.open(container, guest, "run", "the environment of an app")
        held = self._files.hold(run_fd, container.machine, name, data, guest.uid_shift)
        with held:
            yield "EnvironmentFiles", "a(sb)", [[f"/{GUEST_DIRECTORY}/{LAUNCH_DIRECTORY}/{name}", False]]
