"""`isoctl grant`: devices of the host for a running container, until it stops."""

from isoctl import cli, isod
from isoctl.connect import connect
from isoctl.contract_generated import CONTAINER, POLKIT_TIMEOUT_SEC
from isoctl.progress import write_error


def execute(request: cli.Request) -> int:
    """Grant, and say where no such device is there now."""
    name, *operands = request.operands
    grants = {}
    for operand in operands:
        resource, equals, value = operand.partition("=")
        if not equals or not resource or not value:
            raise cli.UsageError(f"{operand!r} is not RESOURCE=VALUE, as in gpu=render", "grant")
        grants[resource] = ("s", value)
    bus = connect()
    path = isod.container_path(bus, name)
    bus.call(path, CONTAINER, "Grant", "a{sv}", (grants,), timeout_sec=POLKIT_TIMEOUT_SEC + 10)
    attached = {item["resource"] for item in isod.properties(bus, path, CONTAINER)["Attachments"]}
    for resource in grants.keys() - attached if "quiet" not in request.options else ():
        write_error(f"isoctl: {resource}: no such device now; it is attached when it is plugged in\n")
    return 0
