"""`isoctl status`: isod itself, or one container."""

from isoctl import cli, isod, render
from isoctl.contract_generated import CONTAINER, MANAGER, ROOT_PATH


def execute(request: cli.Request) -> int:
    """Print properties, a line each, or JSON."""
    bus = isod.connect()
    if request.operands:
        values = isod.properties(bus, isod.container_path(bus, request.operands[0]), CONTAINER)
    else:
        values = isod.properties(bus, ROOT_PATH, MANAGER)
        values["Containers"] = [container["name"] for container in isod.objects(bus, "ListContainers")]
    if "json" in request.options:
        render.as_json({key.lower(): value for key, value in values.items()})
        return 0
    for key, value in values.items():
        if isinstance(value, dict):
            text = ", ".join(f"{name}={level}" for name, level in value.items())
        elif isinstance(value, list):
            text = " ".join(str(item) for item in value if item)
        else:
            text = str(value)
        print(f"{key + ':':13} {render.clean(text) or '-'}")
    return 0
