"""`isoctl history`: what the caller asked of isod, and what it answered."""

import time

from isoctl import cli, isod, render
from isoctl.connect import connect


def execute(request: cli.Request) -> int:
    """Print a table or JSON, oldest first."""
    wanted: dict[str, tuple[str, object]] = {}
    if request.operands:
        wanted["container"] = ("s", request.operands[0])
    if "limit" in request.options:
        wanted["limit"] = ("u", request.options["limit"])
    if "since-usec" in request.options:
        wanted["since-usec"] = ("t", isod.since_usec(str(request.options["since-usec"])))
    records = isod.manager(connect(), "History", "a{sv}", wanted)
    if "json" in request.options:
        render.as_json(records)
        return 0
    rows = []
    for record in records:
        ended = record.get("exit_code", "")
        code = (
            f"signal {record['exit_signal']}" if record.get("exit_signal") else f"exit {ended}" if ended != "" else ""
        )
        rows.append(
            (
                time.strftime("%m-%d %H:%M:%S", time.localtime(record["time_usec"] / 1e6)),
                record["kind"],
                record.get("container", ""),
                record.get("app", "")[:12],
                record.get("outcome", "") or code,
                " ".join(record.get("argv", ())) or record.get("method", "") or record.get("error", ""),
            )
        )
    render.table(("TIME", "KIND", "CONTAINER", "APP", "OUTCOME", "WHAT"), rows)
    return 0
