"""`isoctl run`: what was typed, as the call that isod gets."""

import os
import sys

from isoctl import cli, terminal
from isoctl.connect import connect
from isoctl.contract_generated import CONTAINER, CONTAINER_PATH_PREFIX, HINT_NAMES, PROPERTIES
from isoctl.descriptors import named
from isoctl.interrupts import Interrupts
from isoctl.launch import FAILED, NOT_EXECUTED, Launch
from isoctl.marshal import plain
from isoctl.progress import Progress, write_error
from isoctl.session import ensure_session
from isoctl.stdio import Refused, Streams, is_watched, open_missing
from isoctl.watch import AppWatch, LaunchFailed
from isoctl.wire import RemoteError, WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from isoctl.notify import Notifier
    from isoctl.wire import Bus

    Options = dict[str, tuple[str, Any]]

_HINT_BYTES_MAX = 1024
_HINTS_SEC = 5.0


def execute(request: cli.Request) -> int:
    """Run the command of a parsed command line; gives its exit code, 125 if isoctl or isod failed."""
    if not request.command:
        name = request.operands[0]
        message = f"no command; `isoctl run {name} COMMAND`, or `isoctl shell {name}` for a shell"
        raise cli.UsageError(message, "run")
    return start(request, request.command)


def start(request: cli.Request, command: list[str], *, says_id: bool = True) -> int:
    """Run a command with the flags of `run`; a detached app's id is printed if `says_id`.

    Raises UsageError, RemoteError, WireError.
    """
    open_missing()
    account, container = cli.split_account(request.operands[0])
    words = [_utf8(word, f"argument {position} of the command") for position, word in enumerate(command)]
    options = _options(request, account)
    if "detach" in request.options and "terminal" in request.options:
        message = "-d and -t exclude each other: nobody would hold the terminal"
        raise cli.UsageError(message, "run")
    if "user" not in options and os.geteuid() == 0:
        _say_who(request, container)
    told = notifier("quiet" in request.options)
    try:
        code = _launch(request, _utf8(container, "NAME"), words, options, told, says_id=says_id)
    except (Refused, LaunchFailed, RemoteError, WireError) as error:
        if told is not None:
            _tell(told, container, words, error)
        if isinstance(error, (RemoteError, WireError)):
            raise
        from isoctl.__main__ import complain

        return complain(str(error), FAILED)
    if code in NOT_EXECUTED:
        text = f"{words[0]}: {NOT_EXECUTED[code]} in container {container}"
        if told is not None:
            told.show(container, text)
        elif "detach" in request.options:
            # What the shell inside says of it goes to the container's journal.
            write_error(f"isoctl: {text}\n")
    return code


def _say_who(request: cli.Request, container: str) -> None:
    """Tell who typed sudo without need that they are root inside; on a terminal only."""
    from isoctl.surroundings import as_root_by_sudo

    name = as_root_by_sudo(os.environ)
    if name and os.isatty(2) and "quiet" not in request.options:
        write_error(f"isoctl: as root of {container}; without sudo it runs as {name}\n")


def notifier(quiet: bool) -> "Notifier | None":
    """Give what tells a user who looks at no terminal of ours; None if they do, or want nothing told."""
    if quiet or is_watched():
        return None
    from isoctl.notify import Notifier

    return Notifier()


def _tell(notifier: "Notifier", container: str, words: list[str], error: Exception) -> None:
    """Say on the desktop that a launch failed."""
    from isoctl.render import clean

    text = error.text if isinstance(error, RemoteError) else str(error)
    notifier.show(container, clean(f"{words[0]} did not start: {text}"))


def _launch(
    request: cli.Request,
    container: str,
    words: list[str],
    options: "Options",
    told: "Notifier | None",
    *,
    says_id: bool,
) -> int:
    """Ask isod and wait for the end. Raises Refused and LaunchFailed too."""
    quiet = "quiet" in request.options
    detach = "detach" in request.options
    if reason := named(words):
        raise Refused(reason)
    joint = None if detach else _joint(request)
    streams = None
    if joint is not None:
        options |= {"terminal": ("b", True), **terminal.size_options(joint.fd or 0)}
    if not detach and (joint is None or joint.is_shared):
        streams = Streams(joint.streams if joint else frozenset())
        options |= {name: ("h", fd) for name, fd in streams.sent.items()}
    if not detach:
        # The write end stays open for as long as this process lives; nothing else of it keeps the app alive.
        reader, _ = os.pipe2(os.O_CLOEXEC)
        options["lifetime"] = ("h", reader)
    app_id = os.urandom(16).hex()
    options["id"] = ("s", app_id)
    progress = Progress(container, quiet=quiet, notifier=told)
    elsewhere = "" if request.options.get("display") == "none" else ensure_session()
    if elsewhere and not progress.warn(elsewhere) and not quiet and os.isatty(2):
        write_error(f"isoctl: {elsewhere}\n")
    bus = connect()
    if more := _more_hints(bus, container):
        options["more-hints"] = ("as", more)
    signals = Interrupts()
    watch = AppWatch(bus, app_id, (container, words, options))
    launch = Launch(bus, watch, signals, streams, progress, joint=joint, detach=detach, quiet=quiet)
    code = launch.run()
    is_explained = code in NOT_EXECUTED or "display" in request.options
    if code and not quiet and not is_explained and launch.missed_display():
        line = f"`isoctl run --display require {container} {words[0]}` takes that of your desktop's session"
        write_error(f"isoctl: no display was attached, since there is none here (ssh, su, cron); {line}\n")
    if detach and code == 0 and says_id:
        print(app_id)
        sys.stdout.flush()
    return code


def _joint(request: cli.Request) -> terminal.Joint | None:
    """Decide about terminal mode; None: the app gets none. Raises Refused if it was asked for and cannot be.

    Without a word that is so if all three streams are isoctl's own terminal.
    """
    if "no-terminal" in request.options:
        return None
    streams = terminal.own_streams()
    if len(streams) == len(("stdin", "stdout", "stderr")):
        return terminal.Joint(None, streams)
    if "terminal" not in request.options:
        return None
    fd = terminal.open_own()
    if fd is None:
        message = "-t needs a terminal that isoctl is in the foreground of; `script -qc COMMAND` makes one"
        raise Refused(message)
    return terminal.Joint(fd, streams)


def _utf8(word: str, what: str) -> str:
    """Give a word as D-Bus can carry it, whatever the locale made of its bytes. Raises UsageError."""
    try:
        return os.fsencode(word).decode()
    except UnicodeDecodeError as error:
        message = f"{what} is not UTF-8, from its byte {error.start} on"
        raise cli.UsageError(message, "run") from None


def _options(request: cli.Request, account: str | None) -> "Options":
    """Give the wire options that were asked for, and the hints."""
    given = request.options
    options: Options = {}
    if "directory" in given:
        options |= _directory(str(given["directory"]))
    if "directory-inside" in given:
        # What a container's file says is no path of the host, and is not looked at as one.
        options["directory"] = ("s", _utf8(str(given["directory-inside"]), "Path"))
    for key, signature in (("user", "s"), ("display", "s")):
        if key in given:
            options[key] = (signature, _utf8(str(given[key]), f"--{key}"))
    if "login-shell" in given:
        options["login-shell"] = ("b", given["login-shell"])
    if account is not None:
        if given.get("user", account) != account:
            message = f"{request.operands[0]!r} and --user {given['user']} name two accounts"
            raise cli.UsageError(message, "run")
        options["user"] = ("s", _utf8(account, "USER"))
    variables = given.get("environment", [])
    assert isinstance(variables, list)
    if variables:
        complete = [_variable(entry) for entry in variables]
        options["environment"] = ("as", complete)
        if paths := [name for name, _, value in (entry.partition("=") for entry in complete) if _is_own_path(value)]:
            options["host-paths"] = ("as", paths)
    if told := hints():
        options["hints"] = ("as", told)
    return options


def _directory(path: str) -> "Options":
    """Give what tells isod of a directory: its name inside, and one of the host as what it is. Raises UsageError."""
    options: Options = {}
    is_inside = path.startswith(("/", "~")) and ".." not in path.split("/")
    if is_inside:
        options["directory"] = ("s", _utf8(path, "--directory"))
        if path.startswith("~"):
            return options
    try:
        # Stays open for as long as isod may be asked again.
        options["directory-fd"] = ("h", os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        if not is_inside:
            message = f"--directory {path}: {error.strerror}; one inside begins with / or ~/"
            raise cli.UsageError(message, "run") from None
    return options


def _is_own_path(value: str) -> bool:
    return value.startswith("/") and os.path.lexists(value)


def _more_hints(bus: "Bus", container: str) -> list[str]:
    """Give the variables that the container's policy wants beside the usual; none where isod does not say."""
    try:
        asked = (CONTAINER, "Hints")
        names = plain(bus.call(_path_of(container), PROPERTIES, "Get", "ss", asked, timeout_sec=_HINTS_SEC).body[0])
    except (RemoteError, WireError):
        return []
    return [f"{name}={os.environ[name]}" for name in names if _is_hint(os.environ.get(name))]


def _path_of(container: str) -> str:
    if container.isascii() and container.isalpha():
        return CONTAINER_PATH_PREFIX + container
    # Costs a start more than all else here.
    from isod_contract.names import container_path

    return container_path(container)


def hints() -> list[str]:
    """Give the variables of the caller's session that isod takes, NAME=VALUE."""
    return [f"{name}={os.environ[name]}" for name in HINT_NAMES if _is_hint(os.environ.get(name))]


def _is_hint(value: str | None) -> bool:
    """Tell whether isod would take the value; a hint that is dropped here is only a hint."""
    return value is not None and value.isprintable() and len(value.encode()) <= _HINT_BYTES_MAX


def _variable(entry: str) -> str:
    """Complete `NAME` by the caller's value. Raises UsageError if they have none."""
    name, has_value, _ = entry.partition("=")
    if not name:
        message = f"--env {entry!r}: the name is missing"
        raise cli.UsageError(message, "run")
    if not has_value:
        if name not in os.environ:
            message = f"--env {name}: the variable is not set here"
            raise cli.UsageError(message, "run")
        entry = f"{name}={os.environ[name]}"
    return _utf8(entry, f"the value of --env {name}")
