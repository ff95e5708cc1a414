"""The whole D-Bus interface, declared once: methods with who may call them, signals, properties.

The gate exports exactly this; the bus policy, the introspection XML and the reference are generated from it.
A method without an `Access` cannot be written down, so it cannot be exported.
"""

from enum import StrEnum
from typing import Any, NamedTuple

from isod_contract import names, options
from isod_contract.emits import Emits


class Access(StrEnum):
    """Who may call a method. uid 0 may call all."""

    ANYONE = "anyone"  # what it answers or does concerns only what the caller may see
    SEE = "see"  # users, groups and ask of the container's policy; for others it does not exist
    USE = "use"  # as SEE; policy may want a polkit answer, which then comes after the reply
    MANAGE = "manage"  # as SEE, without a question unless another user's app runs in it
    GRANT = "grant"  # as SEE, after polkit's org.isoctl1.grant
    OWN = "own"  # the app's owner; for others it does not exist
    ADMIN = "admin"  # polkit's org.isoctl1.manage
    SESSION = "session"  # any user, for themselves; system bus only
    DISPLAY = "display"  # as SEE, and only the service that registered the caller's session; system bus only


class Arg(NamedTuple):
    """One argument of a method or signal."""

    name: str
    signature: str


class Method(NamedTuple):
    """One method."""

    interface: str
    name: str
    args: tuple[Arg, ...]
    returns: tuple[Arg, ...]
    access: Access
    doc: str
    options: type[Any] | None = None  # the class that the trailing a{sv} is checked against
    effect: bool = True  # false: only reads, so only refusals are audited

    @property
    def in_signature(self) -> str:
        """The signature of its arguments."""
        return "".join(arg.signature for arg in self.args)

    @property
    def out_signature(self) -> str:
        """The signature of its reply."""
        return "".join(arg.signature for arg in self.returns)


class Signal(NamedTuple):
    """One signal; on the system bus it is sent to subscribers who may see its object, one by one."""

    interface: str
    name: str
    args: tuple[Arg, ...]
    doc: str


class Property(NamedTuple):
    """One read-only property."""

    interface: str
    name: str
    signature: str
    doc: str
    emits: Emits = Emits.TRUE


def _args(text: str) -> tuple[Arg, ...]:
    """Read "s container, as argv" as arguments."""
    return tuple(Arg(name, signature) for signature, name in (part.split() for part in text.split(",") if part.strip()))


# What Explain tells of.
EXPLAINED_ACTIONS = ("run", "start", "stop", "restart", "grant", "revoke")

METHODS = (
    Method(
        names.MANAGER,
        "ListContainers",
        (),
        _args("a(oa{sv}) containers"),
        Access.ANYONE,
        "The containers that the caller may see, with their properties.",
        effect=False,
    ),
    Method(
        names.MANAGER,
        "GetContainer",
        _args("s name"),
        _args("o container"),
        Access.SEE,
        "The object of one container.",
        effect=False,
    ),
    Method(
        names.MANAGER,
        "ListApps",
        (),
        _args("a(oa{sv}) apps"),
        Access.ANYONE,
        "The caller's apps (root: all), with their properties; a Command of more than 256 characters is cut, and if"
        " not all fit into a message, those that ended first are left out.",
        effect=False,
    ),
    Method(
        names.MANAGER,
        "ListAppsAfter",
        _args("t after-usec, s after-id"),
        _args("a(oa{sv}) apps, b more"),
        Access.ANYONE,
        "As ListApps, a page of those that were asked for after an app, by its StartedUSec and Id (0 and an empty text:"
        " from the first on), in that order; `more` says that there are others after these.",
        effect=False,
    ),
    Method(names.MANAGER, "GetApp", _args("s id"), _args("o app"), Access.OWN, "The object of one app.", effect=False),
    Method(
        names.MANAGER,
        "Run",
        _args("s container, as argv, a{sv} options"),
        _args("o app"),
        Access.USE,
        "Start an app; answers at once, the app's State tells the rest. The caller gets the app's signals.",
        options.RunOptions,
    ),
    Method(
        names.MANAGER,
        "Explain",
        _args("s container, s action, a{sv} options"),
        _args("a{sv} decision"),
        Access.SEE,
        f"Would this be allowed to the caller ({', '.join(EXPLAINED_ACTIONS)}), and by what rule.",
        options.ExplainOptions,
        effect=False,
    ),
    Method(
        names.MANAGER,
        "History",
        _args("a{sv} filter"),
        _args("aa{sv} records"),
        Access.ANYONE,
        "The caller's own audit records (root: all), oldest first; a long argv is cut too, and the newest are given"
        " that fit into a message.",
        options.HistoryFilter,
        effect=False,
    ),
    Method(
        names.MANAGER,
        "Reload",
        _args("a{sv} options"),
        _args("aa{sv} changes"),
        Access.ADMIN,
        "Read the policy files again; answers what changes, and what it ends.",
        options.ReloadOptions,
    ),
    Method(
        names.MANAGER,
        "Check",
        _args("a{sv} options"),
        _args("aa{sv} findings"),
        Access.ANYONE,
        "What is wrong with the host for the caller, as far as isod alone can tell: code, what, why, fix (s).",
        options.CheckOptions,
        effect=False,
    ),
    Method(
        names.MANAGER,
        "Subscribe",
        (),
        (),
        Access.ANYONE,
        "Send the caller the signals of all that it may see, until it leaves the bus.",
        effect=False,
    ),
    Method(names.MANAGER, "Unsubscribe", (), (), Access.ANYONE, "End that.", effect=False),
    Method(
        names.MANAGER,
        "RegisterSession",
        _args("a{sv} session"),
        (),
        Access.SESSION,
        "isod-session says what the sender's live session is; the newest of a uid wins, gone with its bus name.",
        options.SessionInfo,
    ),
    Method(
        names.MANAGER,
        "OpenDisplay",
        _args("s container"),
        _args("a{sv} sockets"),
        Access.DISPLAY,
        "The listening sockets (h) of the caller in a running container that isod-session serves: wayland, x11; and"
        " the devices of graphics that the container is granted: render-nodes (as).",
        effect=False,
    ),
    Method(
        names.MANAGER,
        "StartXServer",
        _args("s container, a{sv} options"),
        (),
        Access.DISPLAY,
        "Have the host's systemd run the X server of a container with x11 = isolated for the caller, in the sandbox"
        " that the user's own can't make.",
        options.XServerOptions,
    ),
    Method(names.MANAGER, "StopXServer", _args("s container"), (), Access.DISPLAY, "End that, if there is one."),
    Method(
        names.CONTAINER,
        "Start",
        _args("a{sv} options"),
        (),
        Access.USE,
        "Start the container; answers at once, State and Problem tell the rest.",
        options.ContainerOptions,
    ),
    Method(
        names.CONTAINER,
        "Stop",
        _args("a{sv} options"),
        (),
        Access.MANAGE,
        "Stop the container.",
        options.ContainerOptions,
    ),
    Method(
        names.CONTAINER,
        "Restart",
        _args("a{sv} options"),
        (),
        Access.MANAGE,
        "Stop and start the container.",
        options.ContainerOptions,
    ),
    Method(
        names.CONTAINER,
        "Grant",
        _args("a{sv} grants"),
        (),
        Access.GRANT,
        "Grant devices until the container stops, by resource (gpu, devices): a level, or a list with commas (s)."
        " Answers when they are attached.",
    ),
    Method(
        names.CONTAINER,
        "Revoke",
        _args("as resources"),
        (),
        Access.GRANT,
        "Take that back; without a question what the caller granted themselves. What an app has open it keeps.",
    ),
    Method(
        names.CONTAINER,
        "OpenLog",
        _args("a{sv} options"),
        _args("h log"),
        Access.SEE,
        "A pipe with what the caller's apps wrote to the container's journal (root: the whole journal).",
        options.LogOptions,
    ),
    Method(
        names.CONTAINER,
        "GetUsage",
        (),
        _args("aa{sv} usage"),
        Access.SEE,
        "Processor time, memory and tasks of the caller's running apps (root: all).",
        effect=False,
    ),
    Method(
        names.CONTAINER,
        "ListApplications",
        (),
        _args("aa{sv} applications"),
        Access.SEE,
        "As ListApplicationsFor without options, without what needs a terminal.",
        effect=False,
    ),
    Method(
        names.CONTAINER,
        "ListApplicationsFor",
        _args("a{sv} options"),
        _args("aa{sv} applications"),
        Access.SEE,
        "What a menu of a running container shows the caller: id, name, comment, directory (s), command (as), terminal"
        " (b): whether it needs one; no directory: the home.",
        options.ApplicationsOptions,
        effect=False,
    ),
    Method(
        names.CONTAINER,
        "Check",
        _args("a{sv} options"),
        _args("aa{sv} findings"),
        Access.SEE,
        "What is wrong with the container for the caller: code, what, why, fix (s; a note has none); nothing changes.",
        options.CheckOptions,
        effect=False,
    ),
    Method(names.APP, "Signal", _args("i signal"), (), Access.OWN, "Send a signal to all processes of the app."),
    Method(
        names.APP, "Stop", (), (), Access.OWN, "End the app: HUP and TERM, then KILL after policy's stop_timeout_sec."
    ),
    Method(
        names.APP,
        "OpenTerminal",
        (),
        _args("h terminal"),
        Access.OWN,
        "The master side of the app's terminal, once, for an app started with `terminal`.",
    ),
    Method(
        names.APP,
        "OpenLog",
        _args("a{sv} options"),
        _args("h log"),
        Access.OWN,
        "A pipe with what the app wrote to the container's journal.",
        options.LogOptions,
    ),
)

SIGNALS = (
    Signal(names.MANAGER, "ContainerChanged", _args("o container, s state"), "A container's state changed."),
    Signal(names.MANAGER, "AppAdded", _args("o app"), "An app was asked for."),
    Signal(names.MANAGER, "AppRemoved", _args("o app"), "Nothing is left of an app, and isod forgets it."),
    Signal(
        names.APP,
        "Exited",
        _args("i code, i signal"),
        "The app's main process ended: its exit code (-1: unknown or by a signal), the signal (0: none).",
    ),
)

PROPERTIES = (
    Property(names.MANAGER, "Version", "s", "isod's version.", Emits.CONST),
    Property(names.MANAGER, "Features", "as", "What this isod can do, beyond its version.", Emits.CONST),
    Property(names.CONTAINER, "Name", "s", "The container's name.", Emits.CONST),
    Property(names.CONTAINER, "State", "s", "stopped, starting, running, stopping or failed."),
    Property(names.CONTAINER, "Unit", "s", "The systemd unit on the host; a reload may name another.", Emits.FALSE),
    Property(names.CONTAINER, "User", "s", "The account inside that the caller's apps run as."),
    Property(names.CONTAINER, "Menu", "as", "The command inside that is its menu; empty: the host's launcher."),
    Property(names.CONTAINER, "Hints", "as", "More variables of the caller that policy lets in.", Emits.FALSE),
    Property(names.CONTAINER, "Grants", "a{sv}", "Resource and level, by policy or by Grant."),
    Property(names.CONTAINER, "Attachments", "aa{sv}", "What of the host is reachable in it right now."),
    Property(
        names.CONTAINER,
        "Apps",
        "ao",
        "The caller's apps in it (root: all) of which anything runs or waits, the newest 500;"
        " Manager.AppAdded and AppRemoved tell of changes.",
        Emits.FALSE,
    ),
    Property(names.CONTAINER, "AppCount", "u", "How many those are, however many.", Emits.FALSE),
    Property(
        names.CONTAINER,
        "Outdated",
        "b",
        "Whether a restart would bring it the system that NixOS declares.",
        Emits.FALSE,
    ),
    Property(names.CONTAINER, "Problem", "(ss)", "Error name and text of the last failure; empty: none."),
    Property(names.APP, "Id", "s", "128 bits, hexadecimal.", Emits.CONST),
    Property(names.APP, "Container", "s", "The container's name.", Emits.CONST),
    Property(names.APP, "State", "s", "authorizing, starting-container, preparing, starting, running, exited, failed."),
    Property(names.APP, "ExitCode", "i", "Exit code of the main process; -1: none yet, unknown, or by a signal."),
    Property(names.APP, "ExitSignal", "i", "Signal that ended the main process; 0: none."),
    Property(names.APP, "Problem", "(ss)", "Error name and text of a failure or a warning; empty: none."),
    Property(names.APP, "Unit", "s", "The transient unit inside the container.", Emits.CONST),
    Property(names.APP, "User", "s", "The account inside.", Emits.CONST),
    Property(names.APP, "Command", "as", "The argument vector.", Emits.CONST),
    Property(names.APP, "StartedUSec", "t", "When it was asked for, microseconds since 1970.", Emits.CONST),
    Property(names.APP, "Running", "b", "Whether any process of it is left, also after the main one ended."),
    Property(names.APP, "Detached", "b", "Whether it outlives its caller.", Emits.CONST),
    Property(
        names.APP, "Grants", "a{sv}", "What of the host was attached for it: resource and level (s).", Emits.FALSE
    ),
)

# What isod-session answers itself, on the session bus, to its own user.
SESSION_METHODS = (
    Method(
        names.SESSION,
        "ChooseDisplay",
        _args("s wayland_display"),
        _args("s otherwise"),
        Access.OWN,
        "Have containers' windows from now on appear on this compositor of the user's (a value of WAYLAND_DISPLAY), if"
        " no app of theirs shows windows on another one; the answer is a sentence that says so, or empty.",
    ),
)

METHOD_INDEX = {(method.interface, method.name): method for method in METHODS}
