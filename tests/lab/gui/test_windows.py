"""A window from a container: every toolkit, every kind of container, with no variable set by hand."""

import time

import pytest

from lab.compositors import Sway
from lab.contained import Contained, show
from lab.machine import Lab
from lab.programs import ACTIVATE, BROWSERS, FOOT, GTK4, PROGRAMS, SDL2, XTERM, Program, wait_typed
from lab.screenshot import Box

CONTAINERS = ["priv", "net", "plain", "deb", "nixlike", "nologind", "Upper.Case-1"]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_every_toolkit_shows_its_window_and_takes_text(lab: Lab, clean_desk: Sway, program: Program) -> None:
    app = show(clean_desk, "blog", program, f"{program.name} inside")
    clean_desk.type("typed from outside\n")
    assert wait_typed(lab, "blog") == "typed from outside"
    app.end()
    if program.colour:
        clean_desk.wait_picture(lambda picture: picture.share(program.colour) == 0)


@pytest.mark.gui_full
def test_sdl_shows_its_window_and_takes_text(lab: Lab, clean_desk: Sway) -> None:
    app = show(clean_desk, "blog", SDL2, "sdl inside")
    clean_desk.type("typed from outside\n")
    assert wait_typed(lab, "blog") == "typed from outside"
    app.end()


@pytest.mark.gui_full
@pytest.mark.parametrize("browser", BROWSERS, ids=lambda browser: browser.name)
def test_browsers_show_a_page_and_take_text(clean_desk: Sway, browser: Program) -> None:
    # chromium ends itself on a seat where wtype, whose keyboard comes and goes, has typed before
    clean_desk.restart()
    app = Contained(clean_desk, "blog", *browser.command(""))
    app.seen(browser.colour or (0, 0, 0))
    (window,) = clean_desk.windows()
    assert clean_desk.lab.container_of(window.pid) == "blog"
    assert not window.x11
    clean_desk.type("typed into it")
    clean_desk.lab.wait_for(lambda: any("typed into it" in window.title for window in clean_desk.windows()), 20,
                            f"{clean_desk.windows()}")  # fmt: skip
    app.end()


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_kind_of_container_shows_windows(clean_desk: Sway, container: str) -> None:
    show(clean_desk, container, FOOT, f"in {container}").end()


def test_the_container_is_started_for_the_window(lab: Lab, clean_desk: Sway) -> None:
    lab.stop_container("blog")
    show(clean_desk, "blog", FOOT, "started").end()


def test_the_window_goes_with_the_container(lab: Lab, clean_desk: Sway) -> None:
    app = show(clean_desk, "blog", FOOT, "going")
    lab.stop_container("blog")
    clean_desk.wait_no_window(title="going")
    assert app.process.wait(20) != 0


def test_the_app_sees_the_documented_variables_and_no_other(clean_desk: Sway) -> None:
    done = clean_desk.run("isoctl", "run", "blog", "env", "-0")
    seen = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    assert seen["WAYLAND_DISPLAY"] == "/run/isoctl/1000/wayland-0"
    assert seen["DISPLAY"] == "/run/isoctl/1000/X"
    assert seen["XDG_SESSION_TYPE"] == "wayland"
    assert seen["_JAVA_AWT_WM_NONREPARENTING"] == "1"
    # the host's own ways to its session
    assert not {"SWAYSOCK", "I3SOCK", "XAUTHORITY", "WAYLAND_SOCKET"} & seen.keys()
    assert seen["DBUS_SESSION_BUS_ADDRESS"] == "unix:path=/run/user/1000/bus"


def test_scripts_get_no_display_where_they_ask_for_none(clean_desk: Sway) -> None:
    done = clean_desk.run("isoctl", "run", "--display", "none", "blog", "env", "-0")
    assert not {"WAYLAND_DISPLAY", "DISPLAY"} & {entry.partition("=")[0] for entry in done.stdout.split("\0")}


def test_a_callers_display_variable_does_not_lead_elsewhere(clean_desk: Sway) -> None:
    """A hint chooses among the caller's own compositors; it is no path that the app gets to see."""
    env = {"WAYLAND_DISPLAY": "/run/user/1003/wayland-1", "DISPLAY": ":77"}
    done = clean_desk.run("isoctl", "run", "blog", "sh", "-c", 'echo "$WAYLAND_DISPLAY $DISPLAY"', env=env)
    assert done.stdout in ("/run/isoctl/1000/wayland-0 /run/isoctl/1000/X\n", " \n")


def _filled(desk: Sway, program: Program) -> float:
    return max(desk.screenshot(window).share(program.colour) for window in desk.windows())


def test_x11_windows_follow_a_resize(clean_desk: Sway) -> None:
    app = show(clean_desk, "blog", XTERM, "growing")
    (window,) = clean_desk.windows()
    for width, height in ((500, 300), (900, 600)):
        clean_desk.resize(window, width, height)
        # a rootful server may leave a frame of its window manager's around
        clean_desk.wait_picture(lambda _: _filled(clean_desk, XTERM) > 0.8)
    app.end()


def _text_height(desk: Sway) -> int:
    """Rows inside the window that have anything white in them: the text of an xterm that shows one line."""
    picture = desk.screenshot(desk.windows()[0])
    rows = (picture.crop(Box(0, y, picture.width, 1)) for y in range(picture.height))
    return sum(row.share((255, 255, 255), 40) > 0 for row in rows)


def test_x11_text_is_as_large_at_scale_2(clean_desk: Sway) -> None:
    """Legible: twice the pixels in both directions; unscaled X11 text would keep its height and be tiny."""
    script = "tput civis; echo HHHH; sleep 600"
    command = ("xterm", "-bg", "#008800", "-fg", "white", "-T", "T", "-e", "sh", "-c", script)
    heights = []
    for scale in (1, 2):
        clean_desk.set_scale(scale)
        app = Contained(clean_desk, "blog", *command)
        app.seen(XTERM.colour or (0, 0, 0))
        clean_desk.lab.wait_for(lambda: _text_height(clean_desk) > 5, what="no text")
        heights.append(_text_height(clean_desk))
        app.end()
        # the X server and its window stay for a while
        clean_desk.wait_picture(lambda picture: picture.share(XTERM.colour or (0, 0, 0)) == 0)
    clean_desk.set_scale(1)
    assert heights[1] >= 1.8 * heights[0]


def test_two_apps_of_one_container_are_two_windows(clean_desk: Sway) -> None:
    first, second = (show(clean_desk, "blog", FOOT, title) for title in ("one", "two"))
    first.end()
    clean_desk.wait_no_window(title="one")
    assert clean_desk.find(title="two")
    second.end()


def test_host_text_is_pasted_inside(lab: Lab, clean_desk: Sway) -> None:
    clean_desk.set_clipboard("from the host")
    app = show(clean_desk, "blog", FOOT, "pasting")
    clean_desk.key("v", "ctrl", "shift")
    clean_desk.key("Return")
    assert wait_typed(lab, "blog") == "from the host"
    app.end()


def test_text_copied_inside_is_pasted_on_the_host(clean_desk: Sway) -> None:
    """Copying needs a key press into a window of the app: foot copies its selection."""
    command = ("foot", "--title=copying", "sh", "-c", "printf 'copied-inside\\n'; exec sleep 600")
    app = Contained(clean_desk, "blog", *command)
    app.window(title="copying")
    # select the word on the first line by keys: scrollback search, extended to the word, copied by Return
    clean_desk.key("r", "ctrl", "shift")
    clean_desk.type("copied-inside\n")
    clean_desk.key("c", "ctrl", "shift")
    clean_desk.lab.wait_for(lambda: clean_desk.clipboard() == "copied-inside", what="not in the clipboard")
    app.end()


def test_a_program_that_dbus_activates_inside_gets_the_display(clean_desk: Sway) -> None:
    """gnome-terminal and others are started by the bus inside, not by us, and know only what it was told."""
    caller = Contained(clean_desk, "blog", *ACTIVATE)
    clean_desk.close_window(caller.window(title="activated"))
    caller.end()


def test_a_systemd_user_service_inside_gets_the_display(clean_desk: Sway) -> None:
    clean_desk.run("isoctl", "run", "blog", "true")
    command = ("systemd-run", "--user", "--unit=lab-foot", "--", *FOOT.command("by systemd"))
    starter = Contained(clean_desk, "blog", *command)
    starter.window(title="by systemd")
    clean_desk.run("isoctl", "run", "blog", "systemctl", "--user", "stop", "lab-foot")
    clean_desk.wait_no_window(title="by systemd")


def test_a_portal_inside_does_not_hold_a_gtk_program_up(clean_desk: Sway) -> None:
    """A portal that waits for a desktop that is not there costs 25 s; a ratio, so the machine's speed cancels out."""
    took_sec: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(3):
        for name, env in (("with", ()), ("without", ("env", "GDK_DEBUG=no-portals"))):
            began = time.monotonic()
            app = Contained(clean_desk, "blog", *env, *GTK4.command(name))
            app.window(title=name)
            took_sec[name].append(time.monotonic() - began)
            app.end()
            clean_desk.wait_no_window(title=name)
    assert min(took_sec["with"]) < 2 * min(took_sec["without"])
