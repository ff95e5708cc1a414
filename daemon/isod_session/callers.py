"""Who calls on the session bus, by the broker's word: who may, and what isod is told of them."""

import os
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isod_wire import Connection, Variant

_BUS = "org.freedesktop.DBus"
_REMEMBERED_MAX = 256
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]{1,255}\.(?:service|scope)")


@dataclass(frozen=True, slots=True)
class SessionCaller:
    """One connection to the session bus."""

    uid: int
    pid: int
    unit: str

    def claim(self) -> Variant:
        """Give what the option `via` holds: audited by isod as what this user says, since it can't be checked."""
        return Variant("a{sv}", {"pid": Variant("u", self.pid), "unit": Variant("s", self.unit)})


class Callers:
    """Looks callers up once; a unique name is never given to anybody else."""

    def __init__(self, session_bus: Connection) -> None:
        """Take the bus to ask."""
        self._bus = session_bus
        self._known: OrderedDict[str, SessionCaller] = OrderedDict()

    async def find(self, sender: str) -> SessionCaller:
        """Give who a unique name is; raises WireError, also if it has left."""
        caller = self._known.get(sender)
        if caller is None:
            caller = self._known[sender] = await self._ask(sender)
            while len(self._known) > _REMEMBERED_MAX:
                self._known.popitem(last=False)
        self._known.move_to_end(sender)
        return caller

    async def _ask(self, sender: str) -> SessionCaller:
        with await self._bus.call(
            _BUS, "/org/freedesktop/DBus", _BUS, "GetConnectionCredentials", "s", (sender,), expect="a{sv}"
        ) as reply:
            credentials = {name: value.value for name, value in reply.body[0].items()}
        pid = _number(credentials.get("ProcessID"))
        return SessionCaller(_number(credentials.get("UnixUserID"), -1), pid, _unit_of(pid))


def is_own_user(caller: SessionCaller) -> bool:
    """Tell whether a caller is the user that this service works for: nobody else gets that user's rights by us."""
    return caller.uid == os.getuid()


def _number(value: Any, otherwise: int = 0) -> int:
    return value if isinstance(value, int) else otherwise


def _unit_of(pid: int) -> str:
    """Give the innermost unit of a process (cgroups(7)), "" where that can't be read."""
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text(errors="replace")
    except OSError:
        return ""
    parts = [part for line in text.splitlines() for part in line.rpartition(":")[2].split("/")]
    return next((part for part in reversed(parts) if _UNIT.fullmatch(part)), "")
