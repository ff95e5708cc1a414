"""The lab's desktops themselves: what the tests of the product's windows stand on."""

from collections.abc import Iterator
from functools import partial

import pytest

from lab import programs
from lab.compositors import Sway
from lab.desktop import Desktop
from lab.machine import Lab
from lab.programs import PROGRAMS, Program, forget_typed, wait_typed
from lab.screenshot import Picture

RED, GREEN = (0xAA, 0, 0), (0, 0x88, 0)
FOOT = ("foot", "--override=colors.background=aa0000")
# one GTK program that needs no seat, for weston
ZENITY = ("zenity", "--info", "--text=hello", "--width=400")


@pytest.fixture(scope="module")
def desk(desktop_lab: Lab) -> Iterator[Sway]:
    with desktop_lab.desktop("alice") as desktop:
        yield desktop


@pytest.fixture(autouse=True)
def nothing_typed_yet(desktop_lab: Lab) -> None:
    for user in ("alice", "carol"):
        forget_typed(desktop_lab, user=user)


@pytest.fixture(autouse=True)
def no_window_left(desk: Sway) -> Iterator[None]:
    yield
    for window in desk.windows():
        desk.command(window, "kill")
    desk.wait_no_window()


def shows(colour: tuple[int, int, int], share: float = 0.3):
    return lambda picture: picture.share(colour) > share


def test_it_is_a_real_login_on_the_seat(desk: Sway, desktop_lab: Lab) -> None:
    shown = desktop_lab.run("loginctl", "show-session", desk.login.id).stdout.splitlines()
    assert {"Type=wayland", "Class=user", "Seat=seat0", "Active=yes", "Name=alice"} <= set(shown)
    scope = desktop_lab.run("ps", "-o", "cgroup=", "-C", "sway").stdout
    assert f"session-{desk.login.id}.scope" in scope


def test_a_window_is_in_the_tree_and_on_the_screen(desk: Sway, desktop_lab: Lab) -> None:
    before = desk.wait_picture(shows(Sway.background, 0.9))
    foot = desk.popen(*FOOT, "--title=red one", "sleep", "600")
    window = desk.wait_window(app_id="foot")
    assert (window.title, window.x11, window.focused) == ("red one", False, True)
    assert desktop_lab.run("cat", f"/proc/{window.pid}/comm").stdout == "foot\n"
    assert desktop_lab.container_of(window.pid) is None
    after = desk.wait_picture(shows(RED))
    assert desk.screenshot(window).share(RED) > 0.9
    assert after.share_differing(before) > 0.8
    desk.close_window(window)
    assert foot.wait(10) is not None
    desk.wait_picture(shows(Sway.background, 0.9))


def test_every_typed_letter_arrives(desk: Sway, desktop_lab: Lab) -> None:
    text = 'Hello, "wörld" $HOME ~ # {x}'
    foot = desk.popen(*programs.FOOT.command("typing"))
    desk.wait_window(app_id="foot")
    desk.type(text + "\n")
    assert wait_typed(desktop_lab) == text
    foot.end()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_programs_of_every_toolkit_show_and_take_text(desk: Sway, desktop_lab: Lab, program: Program) -> None:
    # sway, unlike others, does not say so itself; without it Java shows an empty window
    command = partial(desk.popen, *program.command(f"by {program.name}"), env={"_JAVA_AWT_WM_NONREPARENTING": "1"})
    process = command()
    try:
        window = desk.wait_window(title=f"by {program.name}", timeout_sec=30)
    except TimeoutError:
        # sway's own Xwayland ends ten seconds after its last client, and takes with it who comes at that moment
        process = command()
        window = desk.wait_window(title=f"by {program.name}", timeout_sec=30)
    assert window.x11 == program.x11
    if program.colour:
        desk.wait_picture(shows(program.colour))
    desk.type("some text\n")
    assert wait_typed(desktop_lab) == "some text"
    process.end()
    desk.wait_no_window(title=f"by {program.name}")


def test_windows_can_be_resized_and_scaled(desk: Sway) -> None:
    foot = desk.popen(*FOOT, "sleep", "600")
    window = desk.resize(desk.wait_window(app_id="foot"), 400, 200)
    picture = desk.wait_picture(lambda _: desk.screenshot(window).share(RED) > 0.9)
    assert 0.05 < picture.share(RED) < 0.15
    desk.set_scale(2)
    desk.resize(window, 400, 200)
    desk.wait_picture(lambda _: desk.screenshot(window).share(RED) > 0.9)
    part = desk.screenshot(window)
    assert 760 < part.width <= 800
    desk.set_scale(1)
    foot.end()


def test_x11_programs_show_by_xwayland(desk: Sway) -> None:
    xterm = desk.popen("xterm", "-bg", "#008800", "-T", "green one", "-e", "sleep", "600")
    window = desk.wait_window(title="green one")
    assert window.x11
    desk.wait_picture(shows(GREEN))
    xterm.end()
    desk.wait_no_window(title="green one")


def test_the_clipboard_is_set_and_read(desk: Sway) -> None:
    desk.set_clipboard("copied ✓")
    assert desk.clipboard() == "copied ✓"


def test_notifications_are_kept(desk: Sway) -> None:
    seen = len(desk.notifications())
    desk.run("notify-send", "--app-name=me", "A summary", "the body")
    (notification,) = desk.notifications()[seen:]
    assert (notification["app_name"], notification["summary"], notification["body"]) == ("me", "A summary", "the body")


def test_a_key_binding_starts_a_program(desk: Sway) -> None:
    desk.bind("Mod4+t", " ".join(FOOT))
    desk.key("t", "logo")
    desk.close_window(desk.wait_window(app_id="foot"))


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_compositor_ends_and_comes_back(desk: Sway, how: str) -> None:
    foot = desk.popen(*FOOT, "sleep", "600")
    desk.wait_window(app_id="foot")
    pid = desk.pid
    getattr(desk, how)()
    assert foot.wait(10) != 0
    desk.start()
    assert desk.pid != pid
    assert desk.windows() == []
    foot = desk.popen(*FOOT, "sleep", "600")
    desk.wait_picture(shows(RED))
    foot.end()


def test_two_users_have_screens_of_their_own(desk: Sway, desktop_lab: Lab) -> None:
    with desktop_lab.desktop("carol") as carols:
        assert desktop_lab.run("loginctl", "show-session", "-P", "Seat", carols.login.id).stdout == "\n"
        red = desk.popen(*FOOT, "sleep", "600")
        green = carols.popen("foot", "--override=colors.background=008800", "sleep", "600")
        assert desk.wait_picture(shows(RED)).share(GREEN) == 0
        assert carols.wait_picture(shows(GREEN)).share(RED) == 0
        red.end()
        green.end()


def test_logging_out_and_in_again(desktop_lab: Lab, desk: Sway) -> None:
    first = desk.login.id
    desk.log_out()
    assert first not in desktop_lab.run("loginctl", "list-sessions", "--no-legend").stdout.split()
    desk.log_in()
    assert desk.login.id != first
    assert desk.windows() == []


# the session's target is a file of the lab
@pytest.mark.breaks("host-files")
@pytest.mark.parametrize(
    ("tells", "environment", "target"),
    [("nothing", False, False), ("environment", True, False), ("target", True, True)],
)
def test_the_user_manager_knows_what_it_is_told(desktop_lab: Lab, tells: str, environment: bool, target: bool) -> None:
    with desktop_lab.desktop("carol", tells=tells):
        known = desktop_lab.run("systemctl", "--user", "show-environment", user="carol").stdout
        assert ("WAYLAND_DISPLAY=wayland-1\n" in known) is environment
        state = desktop_lab.run("systemctl", "--user", "is-active", "graphical-session.target", user="carol",
                                check=False).stdout  # fmt: skip
        assert (state == "active\n") is target
    known = desktop_lab.run("systemctl", "--user", "show-environment", user="carol").stdout
    assert "WAYLAND_DISPLAY" not in known


def test_sway_on_a_terminal(desktop_lab: Lab) -> None:
    with desktop_lab.desktop("carol", terminal=True) as desktop:
        before = desktop.terminal_settings()
        desktop.exec("sh -c 'tty > ~/tty'")
        tty = desktop_lab.host_path("/home/carol/tty")
        desktop_lab.wait_for(lambda: tty.exists() and bool(tty.read_text()))
        assert tty.read_text().startswith("/dev/pts/")
        assert desktop.terminal_settings() == before


@pytest.mark.parametrize("compositor", ["labwc", "mutter"])
def test_other_compositors_show_and_take_input(desktop_lab: Lab, compositor: str) -> None:
    with desktop_lab.desktop("carol", compositor) as desktop:
        before = desktop.screenshot()
        foot = desktop.popen(*programs.FOOT.command("typing"))
        after = desktop.wait_picture(shows(RED))
        assert before.share(RED) == 0
        assert after.share_differing(before) > 0.3
        desktop.type("typed here\n")
        assert wait_typed(desktop_lab, user="carol") == "typed here"
        desktop.restart()
        foot.wait(10)
        desktop.wait_picture(lambda picture: picture.share(RED) == 0)


def test_weston_shows_windows(desktop_lab: Lab) -> None:
    with desktop_lab.desktop("carol", "weston") as desktop:
        before = desktop.screenshot()
        zenity = desktop.popen(*ZENITY)

        def changed(picture: Picture) -> bool:
            return picture.share_differing(before) > 0.02

        desktop.wait_picture(changed)
        zenity.end()


def test_a_desktop_leaves_nothing_behind(desktop_lab: Lab) -> None:
    def listing() -> str:
        return desktop_lab.run("sh", "-c", "ls -A /run/user/1003 /tmp/.X11-unix; pgrep -u carol -l", check=False).stdout

    with desktop_lab.desktop("carol") as desktop:
        assert isinstance(desktop, Desktop)
    before = listing()
    with desktop_lab.desktop("carol") as desktop:
        desktop.run("xdpyinfo")
    assert listing() == before
