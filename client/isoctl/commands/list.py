"""`isoctl list`: the caller's containers."""

from isoctl import cli, isod, render
from isoctl.connect import connect
from isoctl.progress import write_error


def execute(request: cli.Request) -> int:
    """Print a table or JSON."""
    containers = isod.objects(connect(), "ListContainers")
    if "json" in request.options:
        render.as_json(containers)
    elif not containers:
        write_error("isoctl: there is no container that you may use; /etc/isod/containers says who may use which\n")
    else:
        render.table(
            ("NAME", "STATE", "USER", "APPS", "PROBLEM"),
            [(c["name"], c["state"], c["user"], str(c["appcount"]), c["problem"][1]) for c in containers],
        )
    return 0
