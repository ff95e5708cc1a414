"""The environment of apps: what leads to a display is isod's alone, and toolkits are told to use what is there."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod.core.environment import (
    assemble,
    check_asked,
    display_variables,
    fallbacks,
    session_variables,
)
from isod.policy import ContainerPolicy
from isod.ports import Account
from isod.resources import owned_variables
from isod.resources.base import Attachment, How
from isod_contract.errors import InvalidArgument
from isod_contract.options import HINT_NAMES

ACCOUNT = Account("alice", 1000, 1000, "/home/alice", "/bin/bash")
WAYLAND = {"WAYLAND_DISPLAY": "/run/isoctl/1000/wayland-0"}
X11 = {"DISPLAY": "/run/isoctl/1000/X"}
# Pointers into the host: what they hold there means nothing inside, or something else.
HOST_ONLY = {
    "WAYLAND_DISPLAY": "wayland-1",
    "DISPLAY": ":0",
    "XDG_SESSION_ID": "3",
    "XDG_SESSION_TYPE": "tty",
}


def made(**changed: Any) -> dict[str, str]:
    parts: dict[str, Any] = {
        "session": {},
        "hints": (),
        "policy": {},
        "asked": (),
        "account": ACCOUNT,
        "terminal": False,
        "display": {},
    }
    return assemble(**{**parts, **changed})


def attached(*keys: str) -> dict[str, Attachment]:
    return {key: Attachment(key, key, How.LISTEN, "", "") for key in keys}


def test_a_display_is_reached_by_its_absolute_path() -> None:
    assert display_variables(attached("wayland", "x11"), 1000) == WAYLAND | X11
    assert display_variables(attached("x11"), 1000) == X11
    assert display_variables({}, 1000) == {}


@pytest.mark.attack("C08")
@pytest.mark.parametrize("display", [{}, WAYLAND, X11, WAYLAND | X11])
def test_no_pointer_into_the_host_gets_in(display: dict[str, str]) -> None:
    hints = [f"{name}={value}" for name, value in HOST_ONLY.items()]
    result = made(session=HOST_ONLY, hints=hints, display=display)
    for name, value in HOST_ONLY.items():
        assert result.get(name) != value
        assert display or name not in result


def test_a_display_of_policy_or_an_old_terminal_does_not_hide_the_one_that_is_there() -> None:
    result = made(hints=["DISPLAY=:7"], policy={"WAYLAND_DISPLAY": "x"}, display=WAYLAND | X11)
    assert {name: result[name] for name in (*WAYLAND, *X11)} == WAYLAND | X11


@pytest.mark.parametrize(
    ("display", "expected"),
    [
        (
            WAYLAND,
            {
                "XDG_SESSION_TYPE": "wayland",
                "QT_QPA_PLATFORM": "wayland",
                "MOZ_ENABLE_WAYLAND": "1",
                "NIXOS_OZONE_WL": "1",
                "ELECTRON_OZONE_PLATFORM_HINT": "auto",
            },
        ),
        (
            X11,
            {
                "XDG_SESSION_TYPE": "x11",
                "QT_QPA_PLATFORM": "xcb",
                "_JAVA_AWT_WM_NONREPARENTING": "1",
            },
        ),
        (
            WAYLAND | X11,
            {
                "XDG_SESSION_TYPE": "wayland",
                "QT_QPA_PLATFORM": "wayland;xcb",
                "MOZ_ENABLE_WAYLAND": "1",
                "NIXOS_OZONE_WL": "1",
                "ELECTRON_OZONE_PLATFORM_HINT": "auto",
                "_JAVA_AWT_WM_NONREPARENTING": "1",
            },
        ),
        ({}, {}),
    ],
    ids=["Wayland", "X11", "both", "none"],
)
def test_toolkits_are_told_of_the_display_that_is_there_and_of_no_other(
    display: dict[str, str], expected: dict[str, str]
) -> None:
    own = {"XDG_RUNTIME_DIR": "/run/user/1000", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/1000/bus"}
    assert made(display=display) == {**own, **display, **expected}
    assert session_variables(display, {}) == {**display, **expected}


def test_what_policy_takes_away_no_program_of_the_session_inside_gets() -> None:
    told = session_variables(WAYLAND, {"XDG_CURRENT_DESKTOP": "sway"}, ("QT_QPA_PLATFORM", "XDG_CURRENT_DESKTOP"))
    assert not {"QT_QPA_PLATFORM", "XDG_CURRENT_DESKTOP"} & told.keys()
    assert told["WAYLAND_DISPLAY"] == WAYLAND["WAYLAND_DISPLAY"]


@pytest.mark.parametrize(
    ("desktop", "borders"),
    [("sway", True), ("SWAY", True), ("foo:wlroots", True), ("GNOME", False), ("KDE", False), ("", False)],
)
def test_where_the_compositor_draws_borders_qt_does_not(desktop: str, borders: bool) -> None:
    name = "QT_WAYLAND_DISABLE_WINDOWDECORATION"
    session = {"XDG_CURRENT_DESKTOP": desktop}
    assert made(session=session, display=WAYLAND).get(name) == ("1" if borders else None)
    assert session_variables(WAYLAND, session).get(name) == ("1" if borders else None)
    assert name not in made(session=session, display=X11)


def test_the_order_is_session_hints_toolkits_policy_display_asked_and_isods_own() -> None:
    result = made(
        hints=["LANG=hint", "TZ=hint", "LANGUAGE=hint"],
        session={"LANG": "session", "TZ": "session", "LANGUAGE": "session", "LC_TIME": "session"},
        policy={"LANGUAGE": "policy", "QT_QPA_PLATFORM": "policy", "SDL_VIDEODRIVER": "policy"},
        asked=["SDL_VIDEODRIVER=asked", "WAYLAND_DISPLAY=/mine", "XDG_RUNTIME_DIR=/evil"],
        display=WAYLAND,
    )
    wanted = {
        "LANG": "hint",
        "TZ": "hint",
        "LC_TIME": "session",
        "LANGUAGE": "policy",
        "QT_QPA_PLATFORM": "policy",
        "SDL_VIDEODRIVER": "asked",
        "MOZ_ENABLE_WAYLAND": "1",
        "WAYLAND_DISPLAY": "/mine",
        "XDG_RUNTIME_DIR": "/run/user/1000",
    }
    assert {name: result[name] for name in wanted} == wanted


def test_a_terminals_variables_come_with_a_terminal_only() -> None:
    hints = ["TERM=foot", "COLORTERM=truecolor", "NO_COLOR=1"]
    assert {"TERM", "COLORTERM"} <= made(hints=hints, terminal=True).keys()
    assert not {"TERM", "COLORTERM"} & made(hints=hints).keys()
    assert made(hints=hints)["NO_COLOR"] == "1"
    assert made(terminal=True)["TERM"] == "xterm"


def test_the_terminal_that_is_known_inside_stands_in_for_the_callers() -> None:
    """N24: unless policy or the user says which; an empty TERM is none."""
    assert made(hints=["TERM=foot"], terminal=True, terminal_type="xterm-256color")["TERM"] == "xterm-256color"
    assert made(hints=["TERM=foot"], terminal=True)["TERM"] == "foot"
    assert made(hints=["TERM="], terminal=True)["TERM"] == "xterm"
    assert made(hints=["TERM=foot"], terminal=True, terminal_type="xterm", asked=["TERM=st"])["TERM"] == "st"
    assert made(hints=["TERM=foot"], terminal=True, terminal_type="xterm", policy={"TERM": "st"})["TERM"] == "st"


def test_no_driver_of_sdl_or_clutter_is_forced() -> None:
    """R-10: SDL before 2.0.15 knows no wayland, before 2.0.22 no list, and ends; each finds the display itself."""
    for display in (WAYLAND, X11, WAYLAND | X11):
        assert not {"SDL_VIDEODRIVER", "CLUTTER_BACKEND"} & made(display=display).keys()


def test_policy_takes_variables_away_and_the_user_may_still_set_them() -> None:
    """R-10: `environment` could only set."""
    unset = ("QT_QPA_PLATFORM", "NO_COLOR", "LANG")
    session = {"LANG": "C.UTF-8", "NO_COLOR": "1"}
    result = made(session=session, display=WAYLAND, unset=unset, asked=["NO_COLOR=2"])
    assert {name: result.get(name) for name in unset} == {"QT_QPA_PLATFORM": None, "NO_COLOR": "2", "LANG": None}


def test_sizes_and_cards_are_the_callers() -> None:
    """R-12: GDK_SCALE was lost, and programs for X11 were tiny."""
    hints = {"GDK_SCALE": "2", "QT_SCALE_FACTOR": "1.5", "DRI_PRIME": "1"}
    assert made(hints=[f"{name}={value}" for name, value in hints.items()]).items() >= hints.items()


def test_a_language_that_is_unknown_inside_is_utf8_all_the_same() -> None:
    """R-16: without any no accent could be typed; what is known, or not about characters, changes nothing."""
    known = frozenset({"C.utf8", "de_DE.utf8"})

    def language(told: dict[str, str], variables: dict[str, str] | None = None) -> dict[str, str]:
        return fallbacks(variables=variables or {}, told=told, locales=known, zone="")

    for told in ({"LANG": "fr_FR.UTF-8"}, {"LC_ALL": "fr_FR.UTF-8"}, {"LC_CTYPE": "fr_FR.UTF-8", "LANG": ""}):
        assert language(told) == {"LANG": "C.UTF-8"}
    for told in ({"LANG": "de_DE.UTF-8"}, {"LC_TIME": "fr_FR.UTF-8"}, {"LANGUAGE": "fr"}, {}):
        assert language(told) == {}
    assert language({"LC_ALL": "fr_FR.UTF-8"}, {"LANG": "de_DE.UTF-8"}) == {}
    assert fallbacks(variables={}, told={"LANG": "x"}, locales=frozenset(), zone="") == {}


def test_the_zone_of_the_host_counts_where_nobody_chose_one() -> None:
    """R-45."""
    told = {"told": {}, "locales": frozenset[str]()}
    assert fallbacks(variables={}, zone="Asia/Tokyo", **told) == {"TZ": "Asia/Tokyo"}
    assert fallbacks(variables={"TZ": "UTC"}, zone="Asia/Tokyo", **told) == {}


# -- what policy does not grant


def grants(**levels: str) -> Any:
    return ContainerPolicy.model_validate({"users": ["alice"], "grants": levels}).grants


@pytest.mark.parametrize(("variable", "kind"), sorted(owned_variables().items()))
def test_a_variable_of_a_kind_that_is_not_granted_is_refused_and_never_set(variable: str, kind: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"{variable} leads to {kind}, which policy does not grant"):
        check_asked([f"{variable}=x"], grants(**{kind: "none"}))
    result = made(
        session={variable: "session"},
        hints=[f"{variable}=hint"],
        policy={variable: "policy"},
        asked=[f"{variable}=asked"],
        display=WAYLAND | X11,
        refused=[kind],
    )
    assert variable not in result


@pytest.mark.parametrize("name", ["PPID", "SHELLOPTS", "OPTIND", "UID"])
def test_what_the_starting_shell_would_end_at_is_refused_with_a_way_out(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{name} is kept by the shell that starts the command; run `env {name}="):
        check_asked([f"{name}=5"], grants())


@pytest.mark.attack("C08")
@pytest.mark.parametrize("name", ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "_ISOCTL_0"])
def test_what_isod_alone_sets_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{name} is set by isod alone"):
        check_asked([f"{name}=x"], grants(wayland="raw"))


def test_what_is_granted_or_nobodys_may_be_asked_for() -> None:
    check_asked(["WAYLAND_DISPLAY=x", "DISPLAY=:5", "FOO=a=b", "EMPTY="], grants(wayland="secured", x11="isolated"))


ANY = st.dictionaries(
    st.sampled_from(sorted(HINT_NAMES | {*HOST_ONLY, *owned_variables(), "FOO"})), st.text(max_size=5)
)


@pytest.mark.attack("C08")
@given(ANY, ANY, ANY, st.sets(st.sampled_from(["wayland", "x11", "audio"])), st.booleans())
def test_no_mixture_leads_to_what_is_not_there(
    session: dict[str, str], hints: dict[str, str], policy: dict[str, str], refused: set[str], terminal: bool
) -> None:
    policy = {name: value for name, value in policy.items() if name not in owned_variables()}
    entries = [f"{name}={value}" for name, value in hints.items()]
    result = made(session=session, hints=entries, policy=policy, refused=refused, terminal=terminal)
    assert not {*WAYLAND, *X11, "XAUTHORITY", "WAYLAND_SOCKET"} & result.keys()
    assert "XDG_SESSION_ID" not in result.keys() - policy.keys()
    assert result["XDG_RUNTIME_DIR"] == "/run/user/1000"
