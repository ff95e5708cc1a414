"""Start, stop and restart of containers, and the wait for what was asked."""

import os
import sys
import time

from isoctl import cli, isod, wire
from isoctl.contract_generated import CONTAINER, MANAGER, POLKIT_TIMEOUT_SEC, ROOT_PATH

_SILENT_SEC = 600.0


def execute(request: cli.Request, member: str, wanted: str) -> int:
    """Call `member` on each container and wait until its state is `wanted`; gives 1 if one has a problem."""
    from isoctl.__main__ import complain

    bus = isod.connect()
    bus.call(ROOT_PATH, MANAGER, "Subscribe")
    code = 0
    for name in request.operands:
        path = isod.container_path(bus, name)
        options = {"force": ("b", True)} if "force" in request.options else {}
        if os.isatty(2) and "quiet" not in request.options:
            print(f"{member.lower()}: {name} ...", file=sys.stderr)
        before = isod.properties(bus, path, CONTAINER)
        bus.call(path, CONTAINER, member, "a{sv}", (options,), timeout_sec=POLKIT_TIMEOUT_SEC + 10)
        problem = wait(bus, path, wanted, left_first=member == "Restart" and before["State"] == wanted)
        if problem:
            code = complain(problem, 1)
    return code


def wait(bus: wire.Bus, path: str, wanted: str, *, left_first: bool) -> str:
    """Wait for a state; gives the problem that came instead, or nothing."""
    deadline = time.monotonic() + _SILENT_SEC
    while True:
        values = isod.properties(bus, path, CONTAINER)
        if left_first and values["State"] != wanted:
            left_first = False
        if values["State"] == wanted and not left_first:
            return ""
        if wanted == "stopped" and values["State"] != "stopping":
            # "failed" is stopped too: by systemd, whose patience was at an end.
            again = values["State"] in ("starting", "running")
            return f"container {values['Name']!r} was started again meanwhile" if again else ""
        if values["Problem"][1] and not left_first:
            return str(values["Problem"][1])
        if not bus.wait_readable(min(1.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
            return f"the container is {values['State']} after {_SILENT_SEC:.0f} s"
        bus.receive()
        bus.signals.clear()
