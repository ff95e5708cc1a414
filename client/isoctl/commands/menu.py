"""`isoctl menu`: choose an application of a container in the host's launcher, or in the container's own menu."""

import shutil
import subprocess
from typing import NamedTuple

from isoctl import cli, emulator, isod, lifecycle, wire
from isoctl.commands import run
from isoctl.connect import connect
from isoctl.contract_generated import CONTAINER, MANAGER, POLKIT_TIMEOUT_SEC, ROOT_PATH
from isoctl.marshal import plain
from isoctl.progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Each reads lines and prints the chosen one, as dmenu(1) does; the first that is installed is taken. The last word is
# how it is asked: where there is nothing between it and what is typed, it ends with that.
_LAUNCHERS = (
    ("fuzzel", "--dmenu", "--prompt", "{}: "),
    ("wofi", "--dmenu", "--prompt", "{}"),
    ("rofi", "-dmenu", "-p", "{}"),
    ("tofi", "--prompt-text", "{}: "),
    ("bemenu", "-p", "{}"),
    ("dmenu", "-p", "{}"),
)


class _Chosen(NamedTuple):
    """What is to be started where."""

    container: str
    command: list[str]
    directory: str = ""  # "": the home
    terminal: bool = False


def execute(request: cli.Request) -> int:
    """Show the menu of a container, started if need be, and start what is chosen; 0 too if nothing is."""
    try:
        chosen = _choose_command(request)
        if chosen.command and chosen.terminal:
            emulator.run_in_terminal(chosen.container, chosen.command, chosen.directory)
            return 0
    except (cli.UsageError, wire.RemoteError, wire.WireError) as error:
        notifier = run.notifier("quiet" in request.options)
        if notifier is not None:
            notifier.show("isoctl menu", getattr(error, "text", str(error)))
        raise
    if not chosen.command:
        return 0
    launch = cli.Request(cli.find_verb("run"))
    launch.operands = [chosen.container]
    # It outlives the menu, and without a display there would be nothing to see.
    launch.options = {**request.options, "detach": True, "display": "require"}
    if chosen.directory:
        launch.options["directory-inside"] = chosen.directory
    # What goes wrong from here on it tells itself.
    return run.start(launch, chosen.command, says_id=False)


def _choose_command(request: cli.Request) -> _Chosen:
    """Give what was chosen in a running container; no command if nothing was.

    Raises UsageError, RemoteError, WireError.
    """
    bus = connect()
    name = request.operands[0] if request.operands else _choose_container(bus)
    if not name:
        return _Chosen("", [])
    path = isod.container_path(bus, name)
    values = isod.properties(bus, path, CONTAINER)
    if values["State"] != "running":
        # From here on it counts: who typed a key waits for whatever comes first.
        progress = _progress(name, quiet="quiet" in request.options)
        bus.call(ROOT_PATH, MANAGER, "Subscribe")
        bus.call(path, CONTAINER, "Start", "a{sv}", ({},), timeout_sec=POLKIT_TIMEOUT_SEC + 10)
        if problem := lifecycle.wait(bus, path, "running", left_first=False, progress=progress):
            raise wire.WireError(problem)
    chosen = _Chosen(name, values["Menu"]) if values["Menu"] else _choose_application(bus, path, name)
    bus.close()
    return chosen


def _progress(name: str, *, quiet: bool) -> Progress:
    """Give what tells of a long start: on a terminal, or as a notification."""
    return Progress(name, quiet=quiet, notifier=run.notifier(quiet))


def _choose_container(bus: wire.Bus) -> str:
    names = sorted(container["name"] for container in isod.objects(bus, "ListContainers"))
    if not names:
        message = "no container that you may use"
        raise cli.UsageError(message)
    return names[0] if len(names) == 1 else _choose("container", names)


def _choose_application(bus: wire.Bus, path: str, name: str) -> _Chosen:
    options = {"hints": ("as", run.hints())}
    reply = bus.call(path, CONTAINER, "ListApplicationsFor", "a{sv}", (options,))
    applications: list[dict[str, Any]] = plain(reply.body[0])
    if not applications:
        message = f"container {name!r} has no desktop applications"
        raise cli.UsageError(message)
    titles: dict[str, dict[str, Any]] = {}
    for application in applications:
        title = str(application["name"])
        # Two of one name are told apart by their ids.
        titles[title if title not in titles else f"{title} ({application['id']})"] = application
    chosen = titles.get(_choose(name, list(titles)))
    if chosen is None:
        return _Chosen(name, [])
    return _Chosen(name, chosen["command"], str(chosen["directory"]), bool(chosen["terminal"]))


def _choose(prompt: str, lines: list[str]) -> str:
    """Let the user choose one line; "" for none. Raises UsageError where there is no launcher."""
    for program, *arguments, asked in _LAUNCHERS:
        if path := shutil.which(program):
            try:
                done = subprocess.run(
                    [path, *arguments, asked.format(prompt)],
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
