"""Users' live sessions, as their isod-session services say they are; believed for that user only."""

import asyncio
import fcntl
import os
import stat
import time
from collections.abc import Callable

from isod.ports import AuditSink, Caller, HostSocket, LiveSession
from isod_contract.errors import InvalidArgument
from isod_contract.names import WAYLAND_SOCKET, X11_SOCKET
from isod_contract.options import HINT_NAMES, SessionInfo
from isod_contract.records import SESSION
from isod_kernel import untrusted_fds

_NAMES = HINT_NAMES | {"XDG_SESSION_TYPE", "XDG_CURRENT_DESKTOP", "XCURSOR_THEME", "XCURSOR_SIZE"}
# How long an isod-session may be away before what it served is taken down: it may only be restarted, as may isod.
GRACE_SEC = 5.0


class Sessions:
    """The newest registered session of each uid, for as long as its bus name lives."""

    def __init__(self, audit: AuditSink) -> None:
        """Take the audit."""
        self._audit = audit
        self._by_uid: dict[int, LiveSession] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._arrived = asyncio.Event()
        self._began_sec = time.monotonic()
        self._listeners: list[Callable[[int], None]] = []

    def listen(self, changed: Callable[[int], None]) -> None:
        """Call back with a uid when its session came, changed, or is gone for good."""
        self._listeners.append(changed)

    def register(self, caller: Caller, session: SessionInfo) -> None:
        """Take note of the sender's live session; it replaces an older one of the uid. Raises InvalidArgument."""
        try:
            fresh = _live_session(caller, session)
        except BaseException:
            for fd in (session.socket, session.x11_socket):
                if fd is not None:
                    untrusted_fds.close(fd)
            raise
        self._drop(caller.uid)
        self._by_uid[caller.uid] = fresh
        self._audit.record(SESSION, uid=caller.uid, pid=caller.pid, outcome="registered")
        self._arrived.set()
        self._arrived = asyncio.Event()
        self._tell(caller.uid)

    def forget(self, sender: str) -> None:
        """Take note that the sender left the bus."""
        for uid, session in list(self._by_uid.items()):
            if session.caller.sender == sender:
                self._drop(uid)
                self._audit.record(SESSION, uid=uid, outcome="ended")
                self._timers[uid] = asyncio.get_running_loop().call_later(GRACE_SEC, self._gone, uid)

    def find(self, uid: int) -> LiveSession | None:
        """Give a uid's live session."""
        return self._by_uid.get(uid)

    async def wait_for(self, uid: int) -> LiveSession | None:
        """Give a uid's live session, waiting for it if isod or the session's service was only just restarted."""
        while self.is_away(uid):
            await self._wait_for_any()
        return self._by_uid.get(uid)

    def is_away(self, uid: int) -> bool:
        """Whether a session may be about to come back."""
        if uid in self._by_uid:
            return False
        return uid in self._timers or time.monotonic() < self._began_sec + GRACE_SEC

    def environment(self, uid: int) -> dict[str, str]:
        """Give the variables of a uid's live session; empty without one."""
        session = self._by_uid.get(uid)
        return dict(session.environment) if session else {}

    async def _wait_for_any(self) -> None:
        try:
            async with asyncio.timeout(0.25):
                await self._arrived.wait()
        except TimeoutError:
            return

    def _gone(self, uid: int) -> None:
        self._timers.pop(uid, None)
        self._tell(uid)

    def _tell(self, uid: int) -> None:
        for changed in self._listeners:
            changed(uid)

    def _drop(self, uid: int) -> None:
        timer = self._timers.pop(uid, None)
        if timer is not None:
            timer.cancel()
        old = self._by_uid.pop(uid, None)
        for known in old.sockets.values() if old is not None else ():
            untrusted_fds.close(known.fd)


def _live_session(caller: Caller, session: SessionInfo) -> LiveSession:
    pairs = (entry.partition("=") for entry in session.environment or ())
    environment = {name: value for name, _, value in pairs if name in _NAMES}
    uid = caller.uid
    sockets = {
        WAYLAND_SOCKET: _host_socket("socket", session.socket, session.socket_name, (uid,)),
        # Xorg is root's where no logind gives it its devices.
        X11_SOCKET: _host_socket("x11-socket", session.x11_socket, session.x11_socket_name, (uid, 0)),
    }
    return LiveSession(
        caller=caller,
        environment=environment,
        wayland=session.wayland or "",
        exposed=session.exposed or (),
        sockets={name: found for name, found in sockets.items() if found is not None},
        x11_cookie=session.x11_cookie or b"",
        has_x_server=session.x_server is not False,
    )


def _host_socket(argument: str, fd: int | None, name: str | None, owners: tuple[int, ...]) -> HostSocket | None:
    """Check a socket that a session names: kind, and owner. Raises InvalidArgument."""
    if (fd is None) != (name is None):
        raise InvalidArgument(argument=argument, reason=f"comes with {argument}-name, or neither comes")
    if fd is None or name is None:
        return None
    status = untrusted_fds.status(fd)
    if not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH or not stat.S_ISSOCK(status.st_mode):
        raise InvalidArgument(argument=argument, reason="is not a socket in a file system, opened with O_PATH")
    if status.st_uid not in owners:
        wanted = " or ".join(map(str, owners))
        raise InvalidArgument(argument=argument, reason=f"is owned by uid {status.st_uid}, not {wanted}")
    return HostSocket(name, fd, (status.st_dev, status.st_ino))
