"""The environment of an app, low to high: session, hints, display, policy, the user's own, and what is isod's alone."""

from collections.abc import Collection, Iterable, Mapping

from isod.policy import GrantsBase
from isod.ports import Account
from isod.resources import owned_variables
from isod.resources.base import Attachment, How
from isod_contract.errors import InvalidArgument
from isod_contract.names import (
    CARRIER_PREFIX,
    GUEST_DIRECTORY,
    SHELLS_OWN_VARIABLES,
    WAYLAND_SOCKET,
    X11_AUTHORITY,
    X11_SOCKET,
)

# Pointers into the host: meaningless or dangerous inside; an attached resource sets its own value instead.
_HOST_ONLY = frozenset({"XDG_SESSION_ID", "XDG_SESSION_TYPE"})
_OWN = frozenset({"XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"})
# Of one terminal: an app without one would draw colours and cursor movements into a pipe.
_OF_TERMINAL = ("TERM", "COLORTERM")

# What tells toolkits to use the display that is there, as far as one of them does not find it itself (ADR 0015).
_WAYLAND = {
    "XDG_SESSION_TYPE": "wayland",
    "QT_QPA_PLATFORM": "wayland",
    "MOZ_ENABLE_WAYLAND": "1",
    "NIXOS_OZONE_WL": "1",
    "ELECTRON_OZONE_PLATFORM_HINT": "auto",
}
_X11 = {
    "XDG_SESSION_TYPE": "x11",
    "QT_QPA_PLATFORM": "xcb",
}
_BOTH = {"QT_QPA_PLATFORM": "wayland;xcb"}
# Window managers that give each client the whole of its window; Java draws nothing in them otherwise.
_ANY_X11 = {"_JAVA_AWT_WM_NONREPARENTING": "1"}
# Of the C library itself (locale(7), setlocale(3)).
_BUILT_IN_LOCALES = frozenset({"C", "POSIX", "C.UTF-8", "C.utf8", ""})
# C knows ASCII alone: in it accents could not even be typed (Compose(5)).
_FALLBACK_LOCALE = "C.UTF-8"
# Compositors that draw the windows' borders themselves.
_WLROOTS_DESKTOPS = frozenset({"sway", "wlroots", "hyprland", "river", "labwc", "niri", "wayfire", "dwl"})


def has_screen(attached: Mapping[str, Attachment]) -> bool:
    """Tell whether windows can appear: an X server of the container's own shows none without the compositor."""
    return "wayland" in attached or ("x11" in attached and attached["x11"].how is How.MOUNT)


def display_variables(attached: Mapping[str, Attachment], uid: int) -> dict[str, str]:
    """Give the variables that lead to the attached displays of a user of the host."""
    directory = f"/{GUEST_DIRECTORY}/{uid}"
    result: dict[str, str] = {}
    if "wayland" in attached:
        result["WAYLAND_DISPLAY"] = f"{directory}/{WAYLAND_SOCKET}"
    if "x11" in attached:
        result["DISPLAY"] = f"{directory}/{X11_SOCKET}"
        if attached["x11"].cookie:
            result["XAUTHORITY"] = f"{directory}/{X11_AUTHORITY}"
    return result


def session_variables(
    display: Mapping[str, str], session: Mapping[str, str], unset: Collection[str] = ()
) -> dict[str, str]:
    """Give what programs need that the container's own session starts, but for what policy takes away."""
    if not display:
        return {}
    desktop = session.get("XDG_CURRENT_DESKTOP", "")
    named = {"XDG_CURRENT_DESKTOP": desktop} if desktop else {}
    variables = {**_toolkits(display, desktop), **named, **display}
    return {name: value for name, value in variables.items() if name not in unset}


def check_asked(asked: Iterable[str], grants: GrantsBase) -> None:
    """Refuse what a caller may not set, rather than drop it in silence. Raises InvalidArgument."""
    for name in (entry.partition("=")[0] for entry in asked):
        kind = owned_variables().get(name)
        if name in _OWN or name.startswith(CARRIER_PREFIX):
            raise InvalidArgument(argument="environment", reason=f"{name} is set by isod alone")
        if name in SHELLS_OWN_VARIABLES:
            reason = f"{name} is kept by the shell that starts the command; run `env {name}=VALUE COMMAND` to set it"
            raise InvalidArgument(argument="environment", reason=reason)
        if kind is not None and grants.level(kind) == "none":
            raise InvalidArgument(
                argument="environment",
                reason=f"{name} leads to {kind}, which policy does not grant, see [grants] {kind}",
            )


def with_known_locales(variables: Mapping[str, str], locales: frozenset[str]) -> dict[str, str]:
    """Leave out what names a locale that the container does not have: programs would warn, and fall back to C.

    `locales` are as `locale -a` writes them; an empty set means that nobody knows.
    """
    if not locales:
        return dict(variables)
    languages = {name.partition("_")[0].partition(".")[0] for name in locales}

    def is_known(name: str, value: str) -> bool:
        if name == "LANGUAGE":
            return any(entry.partition("_")[0].partition(".")[0] in languages for entry in value.split(":"))
        if name == "LANG" or name.startswith("LC_"):
            return value in _BUILT_IN_LOCALES or _normalized(value) in locales
        return True

    return {name: value for name, value in variables.items() if is_known(name, value)}


def _normalized(locale: str) -> str:
    base, dot, rest = locale.partition(".")
    codeset, at, modifier = rest.partition("@")
    return f"{base}{dot}{''.join(char for char in codeset.lower() if char.isalnum())}{at}{modifier}"


def assemble(
    *,
    session: Mapping[str, str],
    hints: Iterable[str],
    policy: Mapping[str, str],
    unset: Iterable[str] = (),
    asked: Iterable[str],
    account: Account,
    terminal: bool,
    display: Mapping[str, str],
    refused: Iterable[str] = (),
    locales: frozenset[str] = frozenset(),
    terminal_type: str = "",
) -> dict[str, str]:
    """Give all variables that isod sets over the login profile; entries are NAME=VALUE, already checked.

    `unset` are those that policy takes away, `display` is what `display_variables` gave, `refused` the resources that
    policy does not grant at all, `locales` those of the container, which bind what comes from the host but not what
    policy or the user asked for; so does `terminal_type`, which it knows in place of TERM.
    """
    result: dict[str, str] = {}
    given = dict(entry.split("=", 1) for entry in hints)
    host_only = _HOST_ONLY | owned_variables().keys()
    # The hints after the session (ADR 0007): `LANG=C isoctl run ...` means what it says.
    for source in (session, given):
        known = with_known_locales(source, locales)
        result.update({name: value for name, value in known.items() if name not in host_only})
    if terminal:
        result["TERM"] = terminal_type or result.get("TERM") or "xterm"
    else:
        for name in _OF_TERMINAL:
            result.pop(name, None)
    result.update(_toolkits(display, result.get("XDG_CURRENT_DESKTOP", "")))
    result.update(policy)
    for name in unset:
        result.pop(name, None)
    result.update(display)
    result.update(dict(entry.split("=", 1) for entry in asked))
    for variable, key in owned_variables().items():
        if key in set(refused):
            result.pop(variable, None)
    runtime = f"/run/user/{account.uid}"
    result["XDG_RUNTIME_DIR"] = runtime
    result["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={runtime}/bus"
    return result


def fallbacks(
    *, variables: Mapping[str, str], told: Mapping[str, str], locales: frozenset[str], zone: str
) -> dict[str, str]:
    """Give what an app gets that neither these variables of its own nor its container name.

    `told` is what session and caller say, `zone` the host's time zone where the container shows another.
    """
    dropped = told.keys() - with_known_locales(told, locales).keys()
    language = {} if dropped.isdisjoint(("LANG", "LC_ALL", "LC_CTYPE")) else {"LANG": _FALLBACK_LOCALE}
    found = language | ({"TZ": zone} if zone else {})
    return {name: value for name, value in found.items() if name not in variables}


def _toolkits(display: Mapping[str, str], desktop: str) -> dict[str, str]:
    """Give what toolkits need beside the display's own variable."""
    wayland, x11 = "WAYLAND_DISPLAY" in display, "DISPLAY" in display
    result: dict[str, str] = {}
    if x11:
        result |= _X11 | _ANY_X11
    if wayland:
        result |= _WAYLAND
        if not _WLROOTS_DESKTOPS.isdisjoint(desktop.lower().split(":")):
            result["QT_WAYLAND_DISABLE_WINDOWDECORATION"] = "1"
    if wayland and x11:
        result |= _BOTH
    return result
