"""Start, stop and restart of containers, and the wait for what was asked."""

import time

from isoctl import cli, isod, wire
from isoctl.connect import connect
from isoctl.contract_generated import CONTAINER, MANAGER, POLKIT_TIMEOUT_SEC, ROOT_PATH
from isoctl.progress import Progress
from isoctl.render import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SILENT_SEC = 600.0
# For isod, or the bus, to be back: what was asked for goes on without them.
_PATIENCE_SEC = 30.0
_AGAIN_SEC = 0.2
# Looked at this often, whatever is told; the first word of a problem may be one that is taken back.
_LOOK_SEC = 1.0


def execute(request: cli.Request, member: str, wanted: str) -> int:
    """Call `member` on each container and wait until its state is `wanted`; gives 1 if one has a problem."""
    from isoctl.__main__ import complain

    bus = connect()
    bus.call(ROOT_PATH, MANAGER, "Subscribe")
    code = 0
    for name in request.operands:
        path = isod.container_path(bus, name)
        options = {"force": ("b", True)} if "force" in request.options else {}
        before = isod.properties(bus, path, CONTAINER)
        bus.call(path, CONTAINER, member, "a{sv}", (options,), timeout_sec=POLKIT_TIMEOUT_SEC + 10)
        progress = Progress(clean(name), quiet="quiet" in request.options)
        left_first = member == "Restart" and before["State"] == wanted
        problem = wait(bus, path, wanted, left_first=left_first, progress=progress)
        if problem:
            code = complain(problem, 1)
    return code


def wait(bus: wire.Bus, path: str, wanted: str, *, left_first: bool, progress: "Progress | None" = None) -> str:
    """Wait for a state, through restarts of isod and the bus; gives the problem that came instead, or nothing.

    Raises RemoteError, WireError where isod is not back in time.
    """
    try:
        return _wait(bus, path, wanted, left_first, progress)
    finally:
        if progress is not None:
            progress.clear()


def _wait(bus: wire.Bus, path: str, wanted: str, left_first: bool, progress: "Progress | None") -> str:
    told, deadline = "", time.monotonic() + _SILENT_SEC
    while True:
        values = _read(bus, path)
        state = values["State"]
        if state != told:
            told, deadline = state, time.monotonic() + _SILENT_SEC
        if left_first and state != wanted:
            left_first = False
        if state == wanted and not left_first:
            return ""
        if wanted == "stopped" and state != "stopping":
            # "failed" is stopped too: by systemd, whose patience was at an end.
            again = state in ("starting", "running")
            return f"container {values['Name']!r} was started again meanwhile" if again else ""
        # Of one that is stopping it is the start's, which this ends.
        if values["Problem"][1] and not left_first and wanted != "stopped":
            return str(values["Problem"][1])
        if time.monotonic() > deadline:
            return f"the container is {state} after {_SILENT_SEC:.0f} s without a change; see `isoctl status`"
        if progress is not None:
            progress.update("stopping" if left_first or wanted == "stopped" else "starting-container")
        _listen(bus, progress)


def _read(bus: wire.Bus, path: str) -> "dict[str, Any]":
    """Read the container's properties, from the next isod if this one leaves. Raises RemoteError, WireError."""
    give_up = time.monotonic() + _PATIENCE_SEC
    while True:
        try:
            return isod.properties(bus, path, CONTAINER)
        except wire.RemoteError as error:
            if error.name not in wire.GONE_ERRORS or time.monotonic() > give_up:
                raise
            time.sleep(_AGAIN_SEC)
            _subscribe_again(bus)
        except wire.WireError:
            if time.monotonic() > give_up:
                raise
            time.sleep(_AGAIN_SEC)
            _renew(bus)


def _renew(bus: wire.Bus) -> None:
    try:
        bus.renew()
    except wire.WireError:
        return  # tried again by who finds it closed
    _subscribe_again(bus)


def _subscribe_again(bus: wire.Bus) -> None:
    try:
        bus.call(ROOT_PATH, MANAGER, "Subscribe")
    except (wire.RemoteError, wire.WireError):
        return  # then it is looked at again and again


def _listen(bus: wire.Bus, progress: "Progress | None") -> None:
    """Wait until something may have changed."""
    due_sec = progress.due_in_sec() if progress is not None else None
    try:
        if bus.wait_readable(_LOOK_SEC if due_sec is None else min(_LOOK_SEC, due_sec + 0.001)):
            bus.receive()
    except wire.WireError:
        return  # the next read finds it
    bus.signals.clear()
