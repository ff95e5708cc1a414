"""`isoctl top`: processor time and memory of the caller's apps."""

import os
import sys
import time

from isoctl import cli, isod, render, wire
from isoctl.contract_generated import CONTAINER
from isoctl.marshal import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_REFRESH_SEC = 2.0


def execute(request: cli.Request) -> int:
    """Print once, or again every 2 s on a terminal until Ctrl-C."""
    bus = isod.connect()
    while True:
        rows = _rows(bus, request.operands)
        if "json" in request.options:
            render.as_json(rows)
            return 0
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
        if once:
            return 0
        time.sleep(_REFRESH_SEC)


def _rows(bus: wire.Bus, names: list[str]) -> "list[dict[str, Any]]":
    rows = []
    for container in isod.objects(bus, "ListContainers"):
        if container["state"] == "running" and (not names or container["name"] in names):
            path = isod.container_path(bus, container["name"])
            usage = plain(bus.call(path, CONTAINER, "GetUsage").body[0])
            rows += [{"container": container["name"], **values} for values in usage]
    return rows
