"""The way to isod: the system bus, and an isod on it."""

import time

from isoctl.contract_generated import BUS_NAME
from isoctl.wire import DBUS, DBUS_PATH, Bus, BusGone, NoBus, WireError, system_bus_address

# How long a bus is asked again that is just being restarted.
_BUS_SEC = 5.0


def connect() -> Bus:
    """Connect to the system bus, with an isod on it. Raises WireError, RemoteError.

    No descriptor goes over it before isod is there: a bus that starts one holds them for half a minute.
    """
    deadline = time.monotonic() + _BUS_SEC
    while True:
        bus = _connect_bus(deadline)
        try:
            _await_isod(bus)
        except BusGone:
            if time.monotonic() > deadline:
                raise
        else:
            return bus


def _connect_bus(deadline: float) -> Bus:
    while True:
        try:
            return Bus(system_bus_address())
        except NoBus:
            raise
        except WireError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _await_isod(bus: Bus) -> None:
    if not bus.call(DBUS_PATH, DBUS, "NameHasOwner", "s", (BUS_NAME,), destination=DBUS).body[0]:
        from isoctl.absent import await_isod

        await_isod(bus)
