"""`isoctl ps`: the caller's running apps."""

import time

from isoctl import cli, isod, render
from isoctl.connect import connect


def execute(request: cli.Request) -> int:
    """Print a table or JSON; apps that are over are left out."""
    bus = connect()
    if request.operands:
        isod.container_path(bus, request.operands[0])
    apps = [
        app
        for app in isod.apps(bus)
        if (app["running"] or app["state"] not in ("exited", "failed"))
        and request.operands[:1] in ([], [app["container"]])
    ]
    if "json" in request.options:
        render.as_json(apps)
    else:
        render.table(
            ("ID", "CONTAINER", "USER", "STATE", "STARTED", "COMMAND"),
            [
                (
                    app["id"][:12],
                    app["container"],
                    app["user"],
                    # What its main process left is running, whatever became of that.
                    "running" if app["running"] and app["state"] == "exited" else app["state"],
                    time.strftime("%H:%M:%S", time.localtime(app["startedusec"] / 1e6)),
                    " ".join(app["command"]),
                )
                for app in apps
            ],
        )
    return 0
