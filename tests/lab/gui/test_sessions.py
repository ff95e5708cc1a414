"""With which sessions windows work: no session, plain sway, other compositors, ssh beside a desktop, key bindings."""

import json
from collections.abc import Iterator

import pytest

from lab.compositors import Kwin, SecondSway, Sway
from lab.contained import Contained, interfaces, policy, show
from lab.desktop import Desktop
from lab.machine import Lab
from lab.programs import FOOT, GTK4, XTERM, Program, wait_typed

RED = (0xAA, 0, 0)


@pytest.fixture(autouse=True)
def no_session_service_left(lab: Lab) -> Iterator[None]:
    """Each of these starts as after boot, before anything has made isod-session start."""
    yield
    lab.run("systemctl", "--user", "stop", "isod-session", user="alice", check=False)


def test_without_any_session_a_command_works_and_nothing_alarms(lab: Lab) -> None:
    done = lab.run("isoctl", "run", "blog", "sh", "-c", 'echo "$WAYLAND_DISPLAY$DISPLAY"', user="alice")
    assert (done.stdout, done.stderr) == ("\n", "")


def test_without_any_session_a_required_display_is_refused_in_a_sentence(lab: Lab) -> None:
    done = lab.run("isoctl", "run", "--display", "require", "blog", "true", user="alice", check=False)
    assert done.returncode == 125
    assert "no live session" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.breaks("host-files")  # one of the desktops brings a unit file
@pytest.mark.parametrize("tells", ["nothing", "environment", "target"])
def test_a_window_whatever_the_user_manager_was_told(lab: Lab, tells: str) -> None:
    with lab.desktop("alice", tells=tells) as desk:
        show(desk, "blog", FOOT, tells).end()


def test_an_app_knows_the_desktop_that_the_user_manager_was_told(lab: Lab) -> None:
    with lab.desktop("alice", tells="environment") as desk:
        done = desk.run("isoctl", "run", "blog", "env", "-0")
        seen = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
        assert seen["XDG_CURRENT_DESKTOP"] == "sway"
        # Qt draws none where the compositor does
        assert seen["QT_WAYLAND_DISABLE_WINDOWDECORATION"] == "1"


def test_a_launch_from_ssh_gets_no_display_unless_it_asks(lab: Lab) -> None:
    """The desktop is there, but this caller is not part of it."""
    with lab.desktop("alice", tells="nothing") as desk:
        show(desk, "blog", FOOT, "on the desktop").end()
        outside = ("isoctl", "run", "blog", "sh", "-c", 'echo "$WAYLAND_DISPLAY"')
        assert lab.run(*outside, user="alice").stdout == "\n"
        asked = lab.popen("isoctl", "run", "--display", "require", "blog", *FOOT.command("asked"), user="alice")
        desk.wait_window(title="asked")
        asked.end()


def test_socket_names_of_every_form_are_found(lab: Lab) -> None:
    """A name, an absolute path, or unset while the user manager knows it."""
    with lab.desktop("alice", tells="environment") as desk:
        for number, value in enumerate((desk.env["WAYLAND_DISPLAY"], desk.display, "")):
            app = Contained(desk, "blog", *FOOT.command(f"form {number}"), env={"WAYLAND_DISPLAY": value})
            app.window(title=f"form {number}")
            app.end()


def test_a_window_on_mutter_by_default_policy(lab: Lab) -> None:
    """It has no security context, but its plain registry offers nothing that an app must not have."""
    with lab.desktop("alice", "mutter") as desk:
        app = Contained(desk, "blog", *FOOT.command("on mutter"))
        app.seen(RED)
        desk.type("typed on mutter\n")
        assert wait_typed(lab, "blog") == "typed on mutter"
        assert not [name for name in interfaces(desk, "blog") if "screencopy" in name or "virtual" in name]
        app.end()
        desk.wait_picture(lambda picture: picture.share(RED) == 0)


@pytest.mark.parametrize("container", ["priv", "plain"])
def test_a_plain_socket_reaches_every_kind_of_container(lab: Lab, container: str) -> None:
    with lab.desktop("alice", "mutter") as desk:
        Contained(desk, container, *FOOT.command("on mutter")).seen(RED)
        desk.restart()
        Contained(desk, container, *FOOT.command("after a restart")).seen(RED)


@pytest.fixture
def weston(lab: Lab) -> Iterator[Desktop]:
    with lab.desktop("alice", "weston") as desktop:
        yield desktop


@pytest.mark.attack("C18")
def test_a_compositor_that_cannot_isolate_is_refused_by_name(weston: Desktop) -> None:
    done = weston.run("isoctl", "run", "--display", "require", "blog", "true", check=False)
    assert done.returncode == 125
    assert "weston_capture_v1" in done.stderr
    assert 'wayland = "raw"' in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.attack("C18")
def test_doctor_finds_a_compositor_that_cannot_isolate_by_its_registry(weston: Desktop) -> None:
    done = weston.run("isoctl", "doctor", "--json", "blog", check=False)
    # That bwrap can mount no /proc in nspawn is found in each container that has it, as all of this tree do.
    findings = [found for found in json.loads(done.stdout)["findings"] if found["code"] != "sandbox-no-proc"]
    assert len(findings) == 1, findings
    (finding,) = findings
    assert (done.returncode, finding["code"]) == (1, "compositor-unsafe")
    assert "weston_capture_v1" in finding["what"]
    assert 'grants.wayland = "raw"' in finding["fix"]


def test_raw_works_where_policy_says_so_and_status_shows_it(lab: Lab, weston: Desktop) -> None:
    with policy(lab, "blog", "[grants]", 'wayland = "raw"'):
        before = weston.screenshot()
        app = Contained(weston, "blog", *GTK4.command("raw"))
        weston.wait_picture(lambda picture: picture.share_differing(before) > 0.02, 30)
        assert "raw" in weston.run("isoctl", "status", "blog").stdout
        app.end()


@pytest.mark.gui_full
def test_a_window_on_labwc(lab: Lab) -> None:
    with lab.desktop("alice", "labwc", tells="nothing") as desk:
        app = Contained(desk, "blog", *FOOT.command("on labwc"))
        app.seen(RED)
        desk.type("typed on labwc\n")
        assert wait_typed(lab, "blog") == "typed on labwc"
        app.end()


@pytest.mark.gui_full
def test_a_window_on_kwin(lab: Lab) -> None:
    """It hides less from a security context than others do; `status` must say what an app still reaches."""
    with lab.desktop("alice", "kwin", tells="nothing") as desk:
        assert isinstance(desk, Kwin)
        app = Contained(desk, "blog", *FOOT.command("on kwin"))
        lab.wait_for(lambda: desk.has_window("on kwin"), 40, f"no window\n{app.output}\n{desk.log()}")
        status = desk.run("isoctl", "status", "blog").stdout
        assert "zwlr_layer_shell_v1" in status
        app.end()


@pytest.fixture
def on_a_terminal(lab: Lab) -> Iterator[Sway]:
    """Started as a login on a virtual terminal starts sway: with a tty as its own stdio and that of its children."""
    with lab.desktop("alice", tells="nothing", terminal=True) as desktop:
        yield desktop


def test_a_key_binding_starts_an_app_and_leaves_the_terminal_alone(on_a_terminal: Sway) -> None:
    """The tty of sway is not isoctl's to change, nor for the container to get."""
    before = on_a_terminal.terminal_settings()
    on_a_terminal.bind("Mod4+b", "isoctl run blog foot --title=bound sleep 600")
    on_a_terminal.key("b", "logo")
    window = on_a_terminal.wait_window(title="bound", timeout_sec=40)
    assert on_a_terminal.lab.container_of(window.pid) == "blog"
    assert on_a_terminal.terminal_settings() == before
    terminal = on_a_terminal.lab.run("readlink", f"/proc/{window.pid}/fd/0", check=False).stdout
    assert not terminal.startswith("/dev/pts")
    on_a_terminal.close_window(window)
    assert on_a_terminal.terminal_settings() == before
    # A start that took over a second, on a machine that is busy, is told; nothing else is.
    texts = [note["body"] for note in on_a_terminal.notifications()]
    assert [text for text in texts if not text.startswith(("starting", "waiting"))] == []


@pytest.mark.parametrize(
    ("command", "told"),
    [("isoctl run bobs foot", "bobs"), ("isoctl run never foot", "not ready after 4 s")],
    ids=["denied", "start time-out"],
)
def test_a_failure_behind_a_key_binding_is_one_notification(on_a_terminal: Sway, command: str, told: str) -> None:
    """I-96: without a terminal nobody reads stderr."""
    on_a_terminal.bind("Mod4+b", f"{command} 2>/dev/null")
    on_a_terminal.key("b", "logo")
    failures = []

    def is_told() -> bool:
        failures[:] = [note for note in on_a_terminal.notifications() if told in note["summary"] + note["body"]]
        return bool(failures)

    on_a_terminal.lab.wait_for(is_told, 30, f"no notification: {on_a_terminal.notifications()}")
    # what would come twice would have come by the time that the next one is through
    on_a_terminal.run("notify-send", "last")
    assert len(failures) == 1
    assert [note["summary"] for note in on_a_terminal.notifications()].count("last") == 1


def test_no_display_behind_a_key_binding_is_one_notification(weston: Desktop) -> None:
    app = Contained(weston, "blog", "true", flags=("--display", "require"))
    assert app.process.wait(30) == 125

    def failures() -> list[str]:
        texts = [note["summary"] + note["body"] for note in weston.notifications()]
        # on a slow machine there is one about the slow start, too
        return [text for text in texts if "weston_capture_v1" in text]

    weston.lab.wait_for(lambda: bool(failures()), what=f"no notification: {weston.notifications()}")
    assert len(failures()) == 1


def test_a_slow_start_behind_a_key_binding_is_told(lab: Lab) -> None:
    lab.stop_container("slow")
    with lab.desktop("alice", tells="nothing") as desk:
        app = Contained(desk, "slow", *FOOT.command("slow one"))
        lab.wait_for(lambda: any("slow" in note["summary"] + note["body"] for note in desk.notifications()), 15,
                     "nothing told")  # fmt: skip
        app.window(title="slow one")
        app.end()


@pytest.fixture
def two(lab: Lab) -> Iterator[tuple[Sway, Sway]]:
    """Two sways of alice, of which the second is the newer one."""
    with lab.desktop("alice", tells="nothing") as first:
        assert isinstance(first, Sway)
        with SecondSway(first) as second:
            yield first, second


def test_the_callers_own_compositor_shows_the_window(two: tuple[Sway, Sway]) -> None:
    """Of two, also by turns; no other window appears where the caller is not."""
    first, second = two
    for number in range(2):
        for desk, other in ((first, second), (second, first)):
            show(desk, "blog", FOOT, f"number {number}").end()
            assert other.windows() == []
            desk.wait_no_window()
    assert _told_of_displays(first) == []


def _told_of_displays(desk: Sway) -> list[str]:
    texts = [note["summary"] + note["body"] for note in desk.notifications()]
    # on a slow machine there is one about a slow start, too
    return [text for text in texts if "windows appear on" in text]


@pytest.mark.parametrize("program", [FOOT, XTERM], ids=["wayland", "x11"])
def test_another_compositor_than_the_callers_goes_on_while_it_shows_windows(
    two: tuple[Sway, Sway], program: Program
) -> None:
    """Else what a running app opens next would appear on the other screen; the caller is told in one line."""
    first, second = two
    running = show(first, "blog", program, "running")
    app = Contained(second, "net", *FOOT.command("elsewhere"))
    first.wait_window(40, title="elsewhere")
    assert second.windows() == []
    (told,) = _told_of_displays(first)
    assert first.env["WAYLAND_DISPLAY"] in told
    app.end()
    running.end()
    first.wait_no_window()
    # the X server goes a moment after its last client
    first.lab.wait_for(lambda: not first.windows(), 20, "still a window")
    show(second, "net", FOOT, "at home").end()
