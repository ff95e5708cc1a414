"""`isoctl menu`: choose an application of a container in the host's launcher, or in the container's own menu."""

import shutil
import subprocess

from isoctl import cli, isod, lifecycle, wire
from isoctl.commands import run
from isoctl.contract_generated import CONTAINER, MANAGER, POLKIT_TIMEOUT_SEC, ROOT_PATH
from isoctl.marshal import plain
from isoctl.progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Each reads lines and prints the chosen one, as dmenu(1) does; the first that is installed is taken.
_LAUNCHERS = (
    ("fuzzel", "--dmenu", "--prompt"),
    ("wofi", "--dmenu", "--prompt"),
    ("rofi", "-dmenu", "-p"),
    ("tofi", "--prompt-text"),
    ("bemenu", "-p"),
    ("dmenu", "-p"),
)


def execute(request: cli.Request) -> int:
    """Show the menu of a container, started if need be, and start what is chosen; 0 too if nothing is."""
    try:
        name, command = _choose_command(request)
    except (cli.UsageError, wire.RemoteError, wire.WireError) as error:
        notifier = run.notifier("quiet" in request.options)
        if notifier is not None:
            notifier.show("isoctl menu", getattr(error, "text", str(error)))
        raise
    if not command:
        return 0
    launch = cli.Request(cli.find_verb("run"))
    launch.operands = [name]
    # It outlives the menu, and without a display there would be nothing to see.
    launch.options = {**request.options, "detach": True, "display": "require"}
    # What goes wrong from here on it tells itself.
    return run.start(launch, command, says_id=False)


def _choose_command(request: cli.Request) -> tuple[str, list[str]]:
    """Give a running container and the command that was chosen there; no command if nothing was.

    Raises UsageError, RemoteError, WireError.
    """
    bus = isod.connect()
    name = request.operands[0] if request.operands else _choose_container(bus)
    if not name:
        return "", []
    path = isod.container_path(bus, name)
    values = isod.properties(bus, path, CONTAINER)
    if values["State"] != "running":
        bus.call(ROOT_PATH, MANAGER, "Subscribe")
        bus.call(path, CONTAINER, "Start", "a{sv}", ({},), timeout_sec=POLKIT_TIMEOUT_SEC + 10)
        if problem := lifecycle.wait(bus, path, "running", left_first=False, progress=_progress(name)):
            raise wire.WireError(problem)
    command = values["Menu"] or _choose_application(bus, path, name)
    bus.close()
    return name, command


def _progress(name: str) -> Progress:
    """Give what tells of a long start: on a terminal, or as a notification."""
    return Progress(name, quiet=False, notifier=run.notifier(quiet=False))


def _choose_container(bus: wire.Bus) -> str:
    names = sorted(container["name"] for container in isod.objects(bus, "ListContainers"))
    if not names:
        message = "no container that you may use"
        raise cli.UsageError(message)
    return names[0] if len(names) == 1 else _choose("container", names)


def _choose_application(bus: wire.Bus, path: str, name: str) -> list[str]:
    reply = bus.call(path, CONTAINER, "ListApplications")
    applications: list[dict[str, Any]] = plain(reply.body[0])
    if not applications:
        message = f"container {name!r} has no desktop applications"
        raise cli.UsageError(message)
    titles: dict[str, list[str]] = {}
    for application in applications:
        title = str(application["name"])
        # Two of one name are told apart by their ids.
        titles[title if title not in titles else f"{title} ({application['id']})"] = application["command"]
    return titles.get(_choose(name, list(titles)), [])


def _choose(prompt: str, lines: list[str]) -> str:
    """Let the user choose one line; "" for none. Raises UsageError where there is no launcher."""
    for program, *arguments in _LAUNCHERS:
        if path := shutil.which(program):
            try:
                done = subprocess.run(
                    [path, *arguments, prompt],
                    input="\n".join(lines) + "\n",
                    stdout=subprocess.PIPE,
                    encoding="utf-8",
                    errors="replace",
                    check=False,
                )
            except OSError as error:
                message = f"{path}: {error.strerror}"
                raise cli.UsageError(message) from None
            return done.stdout.rstrip("\n")
    message = f"no launcher on PATH; install one of {', '.join(launcher[0] for launcher in _LAUNCHERS)}"
    raise cli.UsageError(message)
