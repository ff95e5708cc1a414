"""`isoctl status`: isod itself, or one container."""

from isoctl import cli, isod, render
from isoctl.connect import connect
from isoctl.contract_generated import CONTAINER, MANAGER, ROOT_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def execute(request: cli.Request) -> int:
    """Print properties, a line each, or JSON."""
    bus = connect()
    if request.operands:
        values = isod.properties(bus, isod.container_path(bus, request.operands[0]), CONTAINER)
    else:
        values = isod.properties(bus, ROOT_PATH, MANAGER)
        values["Containers"] = [container["name"] for container in isod.objects(bus, "ListContainers")]
    if "json" in request.options:
        render.as_json({key.lower(): value for key, value in values.items()})
        return 0
    for key, value in values.items():
        if key == "AppCount":
            continue  # told by Apps
        for number, line in enumerate(_lines(key, value, values)):
            print(f"{'' if number else key + ':':13} {render.clean(line) or '-'}")
    return 0


def _lines(key: str, value: "Any", values: "dict[str, Any]") -> list[str]:
    """Give what is told of one property; `values` are all of the object."""
    if key == "Outdated":
        told = f"since its start; `isoctl restart {values['Name']}` brings what NixOS declares now"
        return [told] if value else []
    if key == "Apps":
        count = values["AppCount"]
        return [f"{count or 'none'} {'run' if count > 1 else 'runs'}"]
    if key == "Attachments":
        return [_attachment(item) for item in value] or [""]
    if isinstance(value, dict):
        return [", ".join(f"{name}={level}" for name, level in value.items())]
    if isinstance(value, list):
        return [" ".join(str(item) for item in value if item)]
    return [str(value)]


def _attachment(item: "dict[str, str]") -> str:
    """Give one line: what is reachable, whose, by what, and what else an app reaches by it; or why it is not."""
    if item.get("problem"):
        return f"{item['resource']}: not attached: {item['problem']}"
    owner = f" of uid {item['uid']}" if "uid" in item else ""
    text = f"{item['resource']}{owner}: {item['what']}"
    return f"{text}; also reachable: {item['exposed']}" if item.get("exposed") else text
