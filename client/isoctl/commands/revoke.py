"""`isoctl revoke`: take back what was granted to a running container."""

from isoctl import cli, isod
from isoctl.connect import connect
from isoctl.contract_generated import CONTAINER, POLKIT_TIMEOUT_SEC
from isoctl.progress import write_error


def execute(request: cli.Request) -> int:
    """Revoke, and say what that does not end."""
    name, *resources = request.operands
    bus = connect()
    path = isod.container_path(bus, name)
    bus.call(path, CONTAINER, "Revoke", "as", (resources,), timeout_sec=POLKIT_TIMEOUT_SEC + 10)
    if "quiet" not in request.options:
        write_error(f"isoctl: what programs in {name} have open, they keep until they end\n")
    return 0
