"""`isoctl top`: processor time and memory of the caller's apps."""

import os
import sys
import time

from isoctl import cli, isod, render, wire
from isoctl.connect import connect
from isoctl.contract_generated import BUS_NAME, CONTAINER
from isoctl.marshal import plain
from isoctl.progress import write_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_REFRESH_SEC = 2.0
# One that is not there by then is left out: the numbers of the others must not wait for it.
_ANSWER_SEC = 1.0


def execute(request: cli.Request) -> int:
    """Print once, or again every 2 s on a terminal until Ctrl-C."""
    bus = connect()
    while True:
        rows, silent = _rows(bus, request.operands)
        if "json" in request.options:
            render.as_json(rows)
            return _tell(silent)
        once = "once" in request.options or not os.isatty(1)
        if not once:
            sys.stdout.write("\x1b[H\x1b[2J")
        render.table(
            ("CONTAINER", "APP", "CPU s", "MEMORY MiB", "TASKS"),
            [
                (
                    r["container"],
                    r["app"][:12],
                    f"{r['cpu_usec'] / 1e6:.1f}",
                    f"{r['memory_bytes'] >> 20}",
                    str(r["tasks"]),
                )
                for r in rows
            ],
        )
        failed = _tell(silent)
        if once:
            return failed
        time.sleep(_REFRESH_SEC)


def _rows(bus: wire.Bus, names: list[str]) -> "tuple[list[dict[str, Any]], dict[str, str]]":
    """Ask all containers at once; gives what the apps in them use, and why some could not be asked."""
    containers = [(str(path), values) for path, values in isod.manager(bus, "ListContainers")]
    asked = {
        values["Name"]: bus.send(BUS_NAME, path, CONTAINER, "GetUsage")
        for path, values in containers
        if values["State"] == "running" and (not names or values["Name"] in names)
    }
    deadline = time.monotonic() + _ANSWER_SEC
    rows: list[dict[str, Any]] = []
    silent: dict[str, str] = {}
    for name, serial in asked.items():
        try:
            usage = plain(bus.wait_reply(serial, max(0.0, deadline - time.monotonic())).body[0])
        except wire.CallTimeout:
            silent[name] = "it does not answer"
        except wire.RemoteError as error:
            silent[name] = error.text
        else:
            rows += [{"container": name, **values} for values in usage]
    return rows, silent


def _tell(silent: dict[str, str]) -> int:
    """Name the containers that could not be asked; gives 1 if there is one, else 0."""
    for name, why in silent.items():
        write_error(f"isoctl: no numbers of {name}: {render.clean(why)}\n")
    return 1 if silent else 0
