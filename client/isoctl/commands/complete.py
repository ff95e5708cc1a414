"""`isoctl __complete containers|apps`: names for the shell's completion, one a line; silent without isod."""

from isoctl import cli, isod, wire
from isoctl.connect import connect


def execute(request: cli.Request) -> int:
    """Print names."""
    try:
        if request.operands[0] == "containers":
            found = [container["name"] for container in isod.objects(connect(), "ListContainers")]
        else:
            found = [app["id"][:12] for app in isod.apps(connect()) if app["running"]]
    except (wire.WireError, wire.RemoteError):
        return 0
    for name in found:
        print(name)
    return 0
