"""Who is logged in on the host, by logind (org.freedesktop.login1(5))."""

from typing import Any

from isod.host.properties import read_properties
from isod_wire import Connection, WireError

_LOGIND = "org.freedesktop.login1"
_PATH = "/org/freedesktop/login1"
_LOGGED_IN = ("active", "online")
_TIMEOUT_SEC = 5.0


class Logind:
    """Adapter of `Logins`."""

    def __init__(self, connection: Connection) -> None:
        """Take the system bus."""
        self._connection = connection

    async def uids(self) -> set[int] | None:
        """Give who has a session now, lingering users without one not among them; None where logind can't be asked."""
        try:
            with await self._connection.call(
                _LOGIND, _PATH, f"{_LOGIND}.Manager", "ListUsers", timeout_sec=_TIMEOUT_SEC, expect="a(uso)"
            ) as reply:
                users = [(int(uid), str(path)) for uid, _, path in reply.body[0]]
            found: set[int] = set()
            for uid, path in users:
                properties: dict[str, Any] = await read_properties(
                    self._connection, _LOGIND, path, f"{_LOGIND}.User", timeout_sec=_TIMEOUT_SEC
                )
                if properties.get("State") in _LOGGED_IN:
                    found.add(uid)
        except WireError:
            return None
        return found
