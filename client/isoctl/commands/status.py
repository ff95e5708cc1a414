"""`isoctl status`: isod itself, or one container."""

from isoctl import cli, isod, render, wire
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
        if key == "Outdated":
            lines = [f"since its start; `isoctl restart {request.operands[0]}` brings what NixOS declares now"]
            if not value:
                continue
        elif key == "Apps":
            lines = [_running(bus, value)]
        elif key == "Attachments":
            lines = [_attachment(item) for item in value]
        elif isinstance(value, dict):
            lines = [", ".join(f"{name}={level}" for name, level in value.items())]
        elif isinstance(value, list):
            lines = [" ".join(str(item) for item in value if item)]
        else:
            lines = [str(value)]
        for number, line in enumerate(lines or [""]):
            print(f"{'' if number else key + ':':13} {render.clean(line) or '-'}")
    return 0


def _running(bus: wire.Bus, paths: list[str]) -> str:
    """Say how many of a container's apps run; those that are over are known for a while, too."""
    running = sum(bool(app["Running"]) for path, app in isod.manager(bus, "ListApps") if path in paths)
    return f"{running} {'runs' if running == 1 else 'run'}" if running else "none runs"


def _attachment(item: "dict[str, str]") -> str:
    """Give one line: what is reachable, whose, by what, and what else an app reaches by it; or why it is not."""
    if item.get("problem"):
        return f"{item['resource']}: not attached: {item['problem']}"
    owner = f" of uid {item['uid']}" if "uid" in item else ""
    text = f"{item['resource']}{owner}: {item['what']}"
    return f"{text}; also reachable: {item['exposed']}" if item.get("exposed") else text
