"""Options of calls, one field each: wire name, D-Bus signature, flag of `isoctl` and meaning.

isod builds its strict request models from these classes, isoctl its flags, completion and man page.
Field names are the wire keys with `-` written as `_`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

HINT_NAMES = frozenset(
    {
        "LANG",
        "LANGUAGE",
        "TZ",
        "TERM",
        "COLORTERM",
        "NO_COLOR",
        "WAYLAND_DISPLAY",
        "DISPLAY",
        "XDG_SESSION_ID",
        "XDG_CURRENT_DESKTOP",
        "XCURSOR_THEME",
        "XCURSOR_SIZE",
        # Which graphics card, and how large (gtk3(7), Qt's "High DPI").
        "DRI_PRIME",
        "GDK_SCALE",
        "QT_SCALE_FACTOR",
        "XDG_ACTIVATION_TOKEN",
        "DESKTOP_STARTUP_ID",
    }
    | {
        f"LC_{category}"
        for category in [
            "ADDRESS",
            "ALL",
            "COLLATE",
            "CTYPE",
            "IDENTIFICATION",
            "MEASUREMENT",
            "MESSAGES",
            "MONETARY",
            "NAME",
            "NUMERIC",
            "PAPER",
            "TELEPHONE",
            "TIME",
        ]
    }
)

DISPLAY_MODES = ("auto", "require", "none")
WAYLAND_MODES = ("context", "plain", "unsafe")


class Wire(NamedTuple):
    """How an option travels and how `isoctl` spells it."""

    signature: str
    doc: str
    flags: tuple[str, ...] = ()
    metavar: str = ""


def option(signature: str, doc: str, *flags: str, metavar: str = "", default: Any = None) -> Any:
    """Declare one option as a dataclass field; None means "not given"."""
    return field(default=default, metadata={"wire": Wire(signature, doc, flags, metavar)})


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """Options of `Manager.Run`."""

    stdin: int | None = option("h", "standard input of the app: pipe, stream socket or /dev/null; absent: /dev/null")
    stdout: int | None = option("h", "standard output; absent: the container's journal")
    stderr: int | None = option("h", "standard error; absent: the container's journal")
    lifetime: int | None = option(
        "h", "read end of a pipe; when its last writer closes it, the app is ended; absent: the app is detached"
    )
    terminal: bool | None = option(
        "b", "give the app a terminal of the container, on which streams are that are not given"
    )
    rows: int | None = option("q", "height of that terminal, in characters; absent where it is not known: 24")
    columns: int | None = option("q", "width of that terminal, in characters; absent where it is not known: 80")
    pixel_height: int | None = option("q", "height of that terminal, in pixels, by which programs scale images")
    pixel_width: int | None = option("q", "width of that terminal, in pixels")
    environment: tuple[str, ...] | None = option(
        "as",
        "set a variable in the app; NAME alone takes the caller's value: use that for secrets, since every user of the "
        "host can read NAME=VALUE among the arguments of isoctl",
        "-e",
        "--env",
        metavar="NAME[=VALUE]",
    )
    hints: tuple[str, ...] | None = option("as", "variables of the caller's session; dropped where not allowed or bad")
    more_hints: tuple[str, ...] | None = option(
        "as", "variables that the container's `Hints` name; dropped where not allowed or bad"
    )
    host_paths: tuple[str, ...] | None = option(
        "as", "names in `environment` of values that are paths for the caller: isod tells which are not inside"
    )
    directory: str | None = option(
        "s",
        "working directory inside the container, or one of the host that is shared with it, `.` too; default: the home "
        "inside",
        "-w",
        "--directory",
        metavar="DIR",
    )
    directory_fd: int | None = option(
        "h",
        "a directory of the host, opened with O_PATH: the working directory is where the container sees it, and "
        "`directory` where it does not",
    )
    login_shell: bool | None = option(
        "b",
        "start through the account's login shell, so that its profile applies; default: as policy says",
        "--[no-]login-shell",
    )
    user: str | None = option("s", "account inside the container; needs a grant", "-u", "--user", metavar="USER")
    display: str | None = option(
        "s",
        "auto: attach a display if there is one (default); require: fail without one; none: attach none",
        "--display",
        metavar="MODE",
    )
    id: str | None = option("s", "id of the app, 32 hexadecimal digits: repeating a call with it starts nothing twice")
    via: Mapping[str, Any] | None = option(
        "a{sv}", "who asked isod-session for it (pid u, unit s): a claim, audited as one"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerOptions:
    """Options of `Container.Start`, `Stop` and `Restart`."""

    force: bool | None = option("b", "even if another user's app runs in it; asks polkit", "--force")
    via: Mapping[str, Any] | None = option("a{sv}", "as in Run")


@dataclass(frozen=True, kw_only=True, slots=True)
class LogOptions:
    """Options of `App.OpenLog` and `Container.OpenLog`."""

    follow: bool | None = option("b", "go on as lines are written", "-f", "--follow")
    lines: int | None = option("u", "only the last N lines", "-n", "--lines", metavar="N")
    since_usec: int | None = option("t", "only lines from then on, microseconds since 1970", "--since", metavar="TIME")


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryFilter:
    """Options of `Manager.History`."""

    container: str | None = option("s", "only this container")
    app: str | None = option("s", "only this app")
    since_usec: int | None = option("t", "only records from then on", "--since", metavar="TIME")
    limit: int | None = option("u", "at most N records, the newest", "-n", "--lines", metavar="N")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainOptions:
    """Options of `Manager.Explain`."""

    user: str | None = option("s", "for this account inside; default: that of Run", "-u", "--user", metavar="USER")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReloadOptions:
    """Options of `Manager.Reload`."""

    dry_run: bool | None = option("b", "only say what would change", "--dry-run")


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckOptions:
    """Options of `Manager.Check` and `Container.Check`."""

    hints: tuple[str, ...] | None = option("as", "variables of the caller's session, as in Run")


@dataclass(frozen=True, kw_only=True, slots=True)
class ApplicationsOptions:
    """Options of `Container.ListApplicationsFor`."""

    hints: tuple[str, ...] | None = option(
        "as", "variables of the caller's session, as in Run: their language and desktop; absent: the session's own"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionInfo:
    """What isod-session says of its user's live session in `Manager.RegisterSession`."""

    environment: tuple[str, ...] | None = option("as", "variables of the live session, NAME=VALUE")
    session: str | None = option("s", "logind's id of the graphical session")
    wayland: str | None = option(
        "s",
        "how contained apps may be served: context (wp_security_context_v1), plain (the compositor offers nothing that "
        "they must not reach), unsafe; absent: no compositor",
    )
    exposed: tuple[str, ...] | None = option(
        "as", "Wayland interfaces beyond windows and input that an app would reach"
    )
    socket: int | None = option("h", "the compositor's socket, opened with O_PATH")
    socket_name: str | None = option("s", "its name in the user's runtime directory")
    x_server: bool | None = option(
        "b", "whether a program is installed that serves X11 to one container; absent: it is not known"
    )
    x11_socket: int | None = option("h", "the socket of the user's X server, opened with O_PATH")
    x11_socket_name: str | None = option("s", "its name in /tmp/.X11-unix")
    x11_cookie: bytes | None = option("ay", "what that X server knows its clients by (MIT-MAGIC-COOKIE-1), if by that")


@dataclass(frozen=True, kw_only=True, slots=True)
class XServerOptions:
    """Options of `Manager.StartXServer`."""

    control: int | None = option("h", "a UNIX socket: the server's standard input, by which it gets all that it needs")


@dataclass(frozen=True, kw_only=True, slots=True)
class NoOptions:
    """For calls whose options are reserved for later."""


def wire_key(field_name: str) -> str:
    """Give the key under which a field travels."""
    return field_name.replace("_", "-")


def wire_options(options_class: type[Any]) -> dict[str, Wire]:
    """Give, by wire key, how each option of a class travels."""
    return {wire_key(item.name): item.metadata["wire"] for item in fields(options_class)}
