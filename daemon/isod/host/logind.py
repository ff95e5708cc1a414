"""Who is logged in, on the host or in a container, by its logind (org.freedesktop.login1(5))."""

import logging
from collections.abc import Callable, Sequence

from isod.host.bus_calls import BusCalls
from isod.host.properties import read_properties
from isod.ports import Login
from isod_wire import MatchRule, Message, WireError

_log = logging.getLogger(__name__)

_LOGIND = "org.freedesktop.login1"
_PATH = "/org/freedesktop/login1"
_LOGGED_IN = ("active", "online")
_TIMEOUT_SEC = 5.0
_SESSIONS_MAX = 64  # that are looked at: a container may claim any number


class Logind:
    """Adapter of `Logins`."""

    def __init__(self, connection: BusCalls) -> None:
        """Take the bus that it is on."""
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
                properties = await read_properties(
                    self._connection, _LOGIND, path, f"{_LOGIND}.User", timeout_sec=_TIMEOUT_SEC
                )
                if properties.get("State") in _LOGGED_IN:
                    found.add(uid)
        except WireError:
            return None
        return found

    async def has_session(self, uid: int) -> bool:
        """Tell whether a uid has a session that is open, of any class; not where logind can't be asked."""
        try:
            with await self._connection.call(
                _LOGIND, _PATH, f"{_LOGIND}.Manager", "GetUser", "u", [uid], timeout_sec=_TIMEOUT_SEC, expect="o"
            ) as reply:
                path = str(reply.body[0])
            properties = await read_properties(
                self._connection, _LOGIND, path, f"{_LOGIND}.User", timeout_sec=_TIMEOUT_SEC
            )
        except WireError:
            return False
        return properties.get("State") in _LOGGED_IN

    async def logins(self) -> Sequence[Login] | None:
        """Give the sessions of people; None without logind. None of a greeter, or without terminal and display.

        The latter are of class background (pam_systemd(8)): jobs of cron, and what keeps our apps' directories.
        """
        try:
            with await self._connection.call(
                _LOGIND, _PATH, f"{_LOGIND}.Manager", "ListSessions", timeout_sec=_TIMEOUT_SEC, expect="a(susso)"
            ) as reply:
                sessions = [(str(name), int(uid), str(path)) for name, uid, _, _, path in reply.body[0]]
            found = []
            for name, uid, path in sessions[:_SESSIONS_MAX]:
                properties = await read_properties(
                    self._connection, _LOGIND, path, f"{_LOGIND}.Session", timeout_sec=_TIMEOUT_SEC
                )
                # One that is new is still opening when it is told of.
                if properties.get("Class") == "user" and properties.get("State") != "closing":
                    found.append(Login(name, uid))
        except WireError:
            return None
        return found

    async def watch(self, changed: Callable[[], None]) -> None:
        """Call back when a session has come or gone, for as long as the bus lives; never where there is no logind."""

        def on_signal(_: Message) -> None:
            changed()

        for member in ("SessionNew", "SessionRemoved"):
            rule = MatchRule(sender=_LOGIND, path=_PATH, interface=f"{_LOGIND}.Manager", member=member)
            try:
                await self._connection.add_match(rule, on_signal)
            except WireError as error:
                _log.warning("logins.not_watched", extra={"reason": str(error)})
                return
