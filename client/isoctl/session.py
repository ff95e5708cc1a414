"""Brings up isod-session, once per login: isod knows the caller's display and environment from it."""

import fcntl
import os
import time

from isoctl.contract_generated import BUS_NAME, SESSION, SESSION_PATH
from isoctl.wire import DBUS, DBUS_PATH, Bus, RemoteError, WireError

# Below XDG_RUNTIME_DIR, made by isod-session while it is registered and locked by it: its pid, and the compositor that
# it uses.
_REGISTERED = "isoctl/session-registered"
_TIMEOUT_SEC = 3.0
_REGISTRATION_SEC = 2.0
_LOOK_SEC = 0.01
_READ_MAX = 8192


def ensure_session() -> str:
    """Activate isod-session if the caller has a display and no session is registered; failing that is no error.

    Gives a sentence where windows appear on another display of the caller's than the one that they call from. With a
    registered session that uses theirs, this costs one read of a small file.
    """
    environment = os.environ
    address = environment.get("DBUS_SESSION_BUS_ADDRESS")
    runtime = environment.get("XDG_RUNTIME_DIR")
    display = environment.get("WAYLAND_DISPLAY", "")
    if not address or not runtime or not (display or environment.get("DISPLAY")):
        return ""
    try:
        # After su or sudo the variables are somebody else's, and so would be the session.
        if os.stat(runtime).st_uid != os.geteuid():
            return ""
        wanted = os.path.join(runtime, display) if display else ""
        used = _used_display(runtime)
        if used is not None and wanted in ("", used):
            return ""
        bus = Bus(address, _TIMEOUT_SEC)
        try:
            if used is None:
                used = _activate(bus, runtime)
            if used is None or wanted in ("", used):
                return ""
            reply = bus.call(SESSION_PATH, SESSION, "ChooseDisplay", "s", (display,), destination=BUS_NAME)
            return str(reply.body[0])
        finally:
            bus.close()
    except (OSError, WireError, RemoteError):
        return ""  # no isod-session here: the app runs without a display, and isod says so


def _used_display(runtime: str) -> "str | None":
    """Give the compositor that the registered isod-session uses, "" for none; None if there is no such session."""
    try:
        with open(f"{runtime}/{_REGISTERED}") as file:
            pid, used = [*file.read(_READ_MAX).splitlines(), "", ""][:2]
            # One that was killed leaves its file, and nobody holds that any more.
            return used if _is_locked(file.fileno()) or _is_service(pid) else None
    except FileNotFoundError:
        return None


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _is_service(pid: str) -> bool:
    """Tell whether a process is an isod-session: one of before an update locks nothing."""
    try:
        with open(f"/proc/{int(pid)}/cmdline", "rb") as file:
            return b"isod-session" in file.read(_READ_MAX)
    except (OSError, ValueError):
        return False


def _activate(bus: Bus, runtime: str) -> "str | None":
    """Have isod-session started, and wait until it has registered: what isod does not know yet the app would lack."""
    bus.call(DBUS_PATH, DBUS, "StartServiceByName", "su", (BUS_NAME, 0), destination=DBUS, timeout_sec=_TIMEOUT_SEC)
    deadline = time.monotonic() + _REGISTRATION_SEC
    while (used := _used_display(runtime)) is None and time.monotonic() < deadline:
        time.sleep(_LOOK_SEC)
    return used
