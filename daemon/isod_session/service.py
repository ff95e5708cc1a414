"""The life of isod-session: two buses, of which the session's must stay and the system's may come and go."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from isod_contract import names
from isod_session.forwarder import Forwarder
from isod_session.registration import Registration
from isod_wire import SESSION_CAPS, SYSTEM_BUS_CAPS, Connection, WireError, connect

_log = logging.getLogger(__name__)

_BACKOFF_MIN_SEC = 0.1
_BACKOFF_MAX_SEC = 5.0
_SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"


async def run(environment: Mapping[str, str]) -> int:
    """Serve until the session bus is gone or a signal says so; gives the exit code."""
    runtime_directory = Path(environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    address = environment.get("DBUS_SESSION_BUS_ADDRESS") or f"unix:path={runtime_directory}/bus"
    try:
        session_bus = await connect(address, caps=SESSION_CAPS, name="session")
    except WireError as error:
        _log.error("no session bus: %s", error)
        return 1
    registration = Registration(session_bus, runtime_directory, environment)
    forwarder = Forwarder(session_bus, choose_display=registration.choose, before_run=registration.refresh)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    system_address = environment.get("DBUS_SYSTEM_BUS_ADDRESS") or _SYSTEM_BUS
    serving = asyncio.create_task(_serve(session_bus, forwarder, registration, system_address))
    ends = {serving, asyncio.create_task(session_bus.wait_closed()), asyncio.create_task(stopped.wait())}
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        # The session bus leaves when the user does: that is no failure.
        if session_bus.closed or stopped.is_set():
            return 0
        failure = serving.exception()
        _log.error("%s", failure)
        return 1
    finally:
        for task in ends:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        await registration.close()
        await forwarder.close()
        await session_bus.close()


async def _serve(session_bus: Connection, forwarder: Forwarder, registration: Registration, address: str) -> None:
    """Own the name, then keep a connection to the system bus for as long as there is a session bus."""
    # The name first: a second isod-session must not register, since that would end with it and leave none.
    await session_bus.request_name(names.BUS_NAME)
    await registration.begin()
    notify_ready()
    await _follow_system_bus(forwarder, registration, address)


async def _follow_system_bus(forwarder: Forwarder, registration: Registration, address: str) -> None:
    backoff_sec = _BACKOFF_MIN_SEC
    while True:
        system_bus: Connection | None = None
        try:
            system_bus = await connect(address, caps=SYSTEM_BUS_CAPS, name="system")
            forwarder.use(system_bus)
            await registration.use(system_bus, forwarder)
            backoff_sec = _BACKOFF_MIN_SEC
            await system_bus.wait_closed()
            _log.warning("the system bus is gone: %s", system_bus.close_reason)
        except WireError as error:
            _log.warning("no system bus: %s", error)
        finally:
            forwarder.use(None)
            registration.lost()
            if system_bus is not None:
                await system_bus.close()
        await asyncio.sleep(backoff_sec)
        backoff_sec = min(backoff_sec * 2, _BACKOFF_MAX_SEC)


def notify_ready() -> None:
    """Tell the service manager that we are up (sd_notify(3)); without one this does nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(b"READY=1", address.replace("@", "\0", 1) if address.startswith("@") else address)
        except OSError as error:
            _log.warning("the service manager can't be told that we are ready: %s", error.strerror)
