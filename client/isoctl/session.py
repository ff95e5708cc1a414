"""Brings up isod-session, once per login: isod knows the caller's display and environment from it."""

import os
import time

from isoctl.contract_generated import BUS_NAME
from isoctl.wire import DBUS, DBUS_PATH, Bus, RemoteError, WireError

_REGISTERED = "isoctl/session-registered"  # below XDG_RUNTIME_DIR, made by isod-session while it is registered
_TIMEOUT_SEC = 3.0
_REGISTRATION_SEC = 2.0
_LOOK_SEC = 0.01


def ensure_session() -> None:
    """Activate isod-session if the caller has a display and no session is registered; failing that is no error.

    With a registered session this costs one access(2).
    """
    environment = os.environ
    address = environment.get("DBUS_SESSION_BUS_ADDRESS")
    runtime = environment.get("XDG_RUNTIME_DIR")
    if not address or not runtime or not (environment.get("WAYLAND_DISPLAY") or environment.get("DISPLAY")):
        return
    try:
        # After su or sudo the variables are somebody else's, and so would be the session.
        if os.stat(runtime).st_uid != os.geteuid() or os.access(f"{runtime}/{_REGISTERED}", os.F_OK):
            return
        bus = Bus(address, _TIMEOUT_SEC)
        try:
            bus.call(
                DBUS_PATH, DBUS, "StartServiceByName", "su", (BUS_NAME, 0), destination=DBUS, timeout_sec=_TIMEOUT_SEC
            )
        finally:
            bus.close()
        # The name comes before the registration; what isod does not know yet the app would lack.
        deadline = time.monotonic() + _REGISTRATION_SEC
        while not os.access(f"{runtime}/{_REGISTERED}", os.F_OK) and time.monotonic() < deadline:
            time.sleep(_LOOK_SEC)
    except (OSError, WireError, RemoteError):
        pass  # no isod-session here: the app runs without a display, and isod says so
