"""`isoctl menu` with stand-ins for the host's launcher, isod and the desktop: what is offered, chosen and started."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from buses import Bus, dbus_daemon
from client import Isoctl, until
from fakeisod import FakeIsod, fake_isod
from notifications import Notifications, notifications
from test_client_verbs import container

PATH = "/org/isoctl1/container/blog"
MARK = "started"


class Host:
    """A host with a PATH of its own, on which a launcher may stand."""

    def __init__(self, bus: Bus, session: Bus, isod: FakeIsod, directory: Path) -> None:
        self.isod, self.directory = isod, directory
        self.bin = directory / "bin"
        self.bin.mkdir()
        for program in ("sh", "cat", "touch", "setsid", "mv"):
            found = next(path for path in (Path("/usr/bin") / program, Path("/bin") / program) if path.exists())
            (self.bin / program).symlink_to(found)
        self._isoctl = Isoctl(bus.address)
        self.runtime = directory / "run"
        self.runtime.mkdir(0o700)
        self._environment = {
            "XDG_RUNTIME_DIR": str(self.runtime),
            "PATH": str(self.bin),
            "WAYLAND_DISPLAY": "wayland-1",
            "DBUS_SESSION_BUS_ADDRESS": session.address,
        }
        self.state = "running"
        self.menu: list[str] = []
        isod.answers |= {
            "ListContainers": ("a(oa{sv})", ([container("blog")],)),
            "GetContainer": ("o", (PATH,)),
            "Start": ("", ()),
        }
        self.show()
        self.offer(("org.Foo", "Foo", ["touch", str(directory / MARK)]), ("bar", "Bar", ["false"]))

    def show(self, problem: str = "") -> None:
        values = {
            "State": ("s", self.state),
            "Menu": ("as", self.menu),
            "Problem": ("(ss)", ("org.isoctl1.Error.StartFailed" if problem else "", problem)),
        }
        self.isod.answers["GetAll"] = ("a{sv}", (values,))

    def offer(self, *applications: tuple[str, str, list[str]], directory: str = "", terminal: bool = False) -> None:
        more = {"directory": ("s", directory), "terminal": ("b", terminal)}
        entries = [
            {"id": ("s", app_id), "name": ("s", name), "comment": ("s", ""), "command": ("as", command), **more}
            for app_id, name, command in applications
        ]
        self.isod.answers["ListApplicationsFor"] = ("aa{sv}", (entries,))

    def launcher(self, name: str, chooses: str, code: int = 0) -> None:
        """Install a launcher that notes what it was given, and chooses a line."""
        self.install(
            name,
            f'echo "$0 $*" > {self.directory}/arguments\ncat > {self.directory}/lines\n'
            f"cat <<'EOF'\n{chooses}\nEOF\nexit {code}",
        )

    @property
    def lines(self) -> list[str]:
        return (self.directory / "lines").read_text().splitlines()

    @property
    def arguments(self) -> str:
        return Path((self.directory / "arguments").read_text().strip()).name

    def isoctl(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return self._isoctl.run(*arguments, environment=self._environment)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
        environment = self._environment | variables
        return self._isoctl.run("menu", *arguments, environment=environment, start_new_session=True)

    def popen(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self._isoctl.popen("menu", *arguments, environment=self._environment, start_new_session=True)

    def install(self, name: str, script: str) -> None:
        """Install a program of the host's."""
        program = self.bin / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)


@pytest.fixture
def session() -> Iterator[Bus]:
    with dbus_daemon() as running:
        yield running


@pytest.fixture
def desktop(session: Bus) -> Iterator[Notifications]:
    with notifications(session.address) as running:
        yield running


@pytest.fixture
def host(bus: Bus, session: Bus, tmp_path: Path) -> Iterator[Host]:
    with fake_isod(bus.address) as isod:
        yield Host(bus, session, isod, tmp_path)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fuzzel", "fuzzel --dmenu --prompt blog:"),
        ("wofi", "wofi --dmenu --prompt blog"),
        ("rofi", "rofi -dmenu -p blog"),
        ("tofi", "tofi --prompt-text blog:"),
        ("bemenu", "bemenu -p blog"),
        ("dmenu", "dmenu -p blog"),
    ],
)
def test_what_is_chosen_is_started_and_lives_on(host: Host, name: str, arguments: str) -> None:
    host.launcher(name, "Foo")
    done = host.run("blog")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    until((host.directory / MARK).exists)
    assert (host.lines, host.arguments) == (["Foo", "Bar"], arguments)
    options = host.isod.only_app.options
    assert options["display"] == "require"
    assert "lifetime" not in options
    assert "stdin" not in options


@pytest.mark.parametrize(("chooses", "code"), [("", 1), ("", 0), ("something else", 0), ("foo", 0)])
def test_nothing_chosen_starts_nothing_and_is_no_failure(
    host: Host, desktop: Notifications, chooses: str, code: int
) -> None:
    host.launcher("wofi", chooses, code)
    assert host.run("blog").returncode == 0
    assert not host.isod.apps
    assert desktop.shown == []


def test_two_of_one_name_are_told_apart(host: Host) -> None:
    host.offer(("a", "Files", ["false"]), ("b", "Files", ["touch", str(host.directory / MARK)]), ("c", "Files", ["x"]))
    host.launcher("wofi", "Files (b)")
    assert host.run("blog").returncode == 0
    assert host.lines == ["Files", "Files (b)", "Files (c)"]
    until((host.directory / MARK).exists)


def test_a_command_arrives_as_it_is(host: Host) -> None:
    words = ["", "a b", "$HOME", "%f", "é", "-x", "'"]
    host.offer(("foo", "Foo", ["sh", "-c", f'printf "%s\\n" "$@" > {host.directory}/{MARK}', "sh", *words]))
    host.launcher("wofi", "Foo")
    assert host.run("blog").returncode == 0
    until(lambda: (host.directory / MARK).exists() and (host.directory / MARK).read_text().endswith("'\n"))
    assert (host.directory / MARK).read_text().split("\n")[:-1] == words


def test_the_containers_own_menu_comes_instead(host: Host) -> None:
    host.menu = ["touch", str(host.directory / MARK)]
    host.show()
    assert host.run("blog").returncode == 0
    until((host.directory / MARK).exists)
    assert not host.isod.count("ListApplicationsFor")


def test_a_stopped_container_is_started_first(host: Host) -> None:
    host.state = "stopped"
    host.show()
    host.launcher("wofi", "Foo")

    def start(member: str) -> None:
        if member == "Start":
            host.state = "running"
            host.show()

    host.isod.on_call = start
    assert host.run("blog").returncode == 0
    calls = [member for member, _ in host.isod.calls]
    assert calls.index("Start") < calls.index("ListApplicationsFor") < calls.index("Run")


def test_the_only_container_needs_no_name_and_of_several_one_is_chosen(host: Host) -> None:
    host.launcher("wofi", "Foo")
    assert host.run().returncode == 0
    assert host.isod.count("Run") == 1
    host.isod.answers["ListContainers"] = ("a(oa{sv})", ([container("db"), container("blog")],))
    host.launcher("wofi", "blog")
    assert host.run().returncode == 0
    assert (host.isod.count("Run"), host.lines) == (1, ["Foo", "Bar"])
    ((_, body),) = [call for call in host.isod.calls if call[0] == "GetContainer"][-1:]
    assert body == ("blog",)


FAILURES: dict[str, tuple[Callable[[Host], Any], str]] = {
    "no launcher": (lambda _: None, "no launcher on PATH; install one of fuzzel"),
    "nothing to show": (lambda host: host.offer(), "container 'blog' has no desktop applications"),
    "no container": (
        lambda host: host.isod.answers.update({"ListContainers": ("a(oa{sv})", ([],))}),
        "no container that you may use",
    ),
    "launcher that can not run": (lambda host: (host.launcher("wofi", ""), _spoil(host.bin / "wofi")), "wofi: "),
    "directory of its name": (lambda host: (host.bin / "fuzzel").mkdir(), "no launcher on PATH"),
}


def _spoil(program: Path) -> None:
    program.write_bytes(b"\x7fELF nothing")
    program.chmod(0o755)


@pytest.mark.parametrize(("damage", "text"), FAILURES.values(), ids=FAILURES)
def test_a_failure_before_the_choice_is_told_once(
    host: Host, desktop: Notifications, damage: Callable[[Host], Any], text: str
) -> None:
    damage(host)
    done = host.run()
    assert done.returncode != 0
    assert text in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert len(desktop.shown) == 1
    assert text in json.dumps(list(desktop.visible.values()))


def test_a_start_that_failed_is_told_once(host: Host, desktop: Notifications) -> None:
    host.state = "failed"
    host.show("container 'blog' did not start: no space")
    assert host.run("blog").returncode != 0
    assert desktop.shown == [("isoctl menu", "container 'blog' did not start: no space")]


@pytest.mark.parametrize("how", ["refused", "failed"])
def test_a_failure_after_the_choice_is_told_once(host: Host, desktop: Notifications, how: str) -> None:
    host.launcher("wofi", "Foo")
    error = ("org.isoctl1.Error.NoSession", "no live session of uid 1000: no Wayland compositor answers")
    if how == "refused":
        host.isod.run_error = error
    else:
        host.isod.start_error = error
    assert host.run("blog").returncode != 0
    assert desktop.shown == [("blog", f"touch did not start: {error[1]}")]
    assert len(desktop.visible) == 1


def test_a_program_that_is_not_there_is_told(host: Host, desktop: Notifications) -> None:
    """N-4, D-13: a menu whose choice comes to nothing says so, since nobody looks at a terminal."""
    host.offer(("foo", "Foo", ["sh", "-c", "exit 127"]))
    host.isod.begins = False
    host.launcher("wofi", "Foo")
    assert host.run("blog").returncode == 127
    assert desktop.shown == [("blog", "sh: not found in container blog")]


def test_a_slow_start_is_told_within_a_second_and_no_longer_than_it_lasts(host: Host, desktop: Notifications) -> None:
    """D-15: nine seconds of nothing after the key was pressed."""
    host.state = "stopped"
    host.show()
    host.launcher("wofi", "Foo")
    menu = host.popen("blog")
    try:
        until(lambda: desktop.shown)
        assert desktop.shown == [("blog", "starting container blog")]
        assert not host.isod.count("ListApplicationsFor")
        host.state = "running"
        host.show()
        assert menu.wait(10) == 0
        assert (len(desktop.shown), desktop.visible) == (1, {})
    finally:
        menu.kill()
        menu.wait()


def test_it_starts_in_the_directory_of_its_entry(host: Host) -> None:
    """D-14: `Path=` of a desktop entry. It is a path inside: nothing of the host's is opened for it."""
    host.offer(("foo", "Foo", ["touch", str(host.directory / MARK)]), directory="/usr/share")
    host.launcher("wofi", "Foo")
    assert host.run("blog").returncode == 0
    assert host.isod.only_app.options["directory"] == "/usr/share"
    assert "directory-fd" not in host.isod.only_app.options


def test_the_language_and_the_desktop_of_the_caller_are_sent(host: Host) -> None:
    """D-24: the session's language was taken, whatever the caller said."""
    host.launcher("wofi", "Foo")
    assert host.run("blog", LANG="de_DE.UTF-8", XDG_CURRENT_DESKTOP="sway").returncode == 0
    ((_, (options,)),) = [call for call in host.isod.calls if call[0] == "ListApplicationsFor"]
    assert {"LANG=de_DE.UTF-8", "XDG_CURRENT_DESKTOP=sway"} <= set(options["hints"][1])


EMULATORS = [
    ("foot", {}, "foot"),
    ("xterm", {}, "xterm -e"),
    ("gnome-terminal", {}, "gnome-terminal --"),
    ("odd", {"TERMINAL": "odd --new"}, "odd --new -e"),
    ("kitty", {"TERMINAL": "nosuch"}, "kitty"),
    ("wezterm", {"TERMINAL": "'"}, "wezterm start --"),
]
# A terminal, and a shell of the host that reads its words once more: as lxterminal does.
JOINS = '[ "$1" = -e ] && shift; exec /usr/bin/script -qefc "$*" {}/screen'


@pytest.mark.parametrize(("emulator", "variables", "expected"), EMULATORS, ids=[name for name, *_ in EMULATORS])
def test_what_needs_a_terminal_gets_the_users_own(
    host: Host, emulator: str, variables: dict[str, str], expected: str
) -> None:
    """D-12: fish and htop were in no menu."""
    host.offer(("htop", "htop", ["htop", "-x", "a b"]), directory="/srv", terminal=True)
    host.launcher("wofi", "htop")
    host.install(
        emulator,
        f'printf "%s\\n" "${{0##*/}}" "$@" > {host.directory}/new; mv {host.directory}/new {host.directory}/{MARK}',
    )
    done = host.run("blog", **variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    until((host.directory / MARK).exists)
    *words, verb, token = (host.directory / MARK).read_text().splitlines()
    assert words == [*expected.split(), sys.executable, "-S", "-m", "isoctl"]
    assert (verb, len(bytes.fromhex(token))) == ("__terminal", 16)
    assert not host.isod.apps


@pytest.mark.attack("C14")
@pytest.mark.parametrize("directory", ["", "/"])
def test_no_word_of_a_container_is_read_by_a_shell_of_the_host(host: Host, directory: str) -> None:
    """Emulators that join their words have a shell read them; one entry broke in silence, another ran on the host."""
    hostile = [f"; touch {host.directory}/pwned", f"$(touch {host.directory}/pwned)", "a b", "'", '"', "", "\n", "esac"]
    inside = ["sh", "-c", f'printf "%s\\n" "$@" > {host.directory}/{MARK}', "sh", *hostile]
    host.offer(("htop", "htop", inside), directory=directory, terminal=True)
    host.launcher("wofi", "htop")
    host.install("lxterminal", f"({JOINS.format(host.directory)}); touch {host.directory}/ended")
    done = host.run("blog", TERMINAL="lxterminal")
    assert (done.returncode, done.stderr) == (0, b"")
    app = host.isod.only_app
    assert app.argv == (["sh", "-c", 'cd -- "$0" && exec "$@"', directory, *inside] if directory else inside)
    assert "terminal" in app.options
    until(lambda: (host.directory / MARK).exists() and (host.directory / MARK).read_text().endswith("esac\n"))
    until((host.directory / "ended").exists)
    assert not (host.directory / "pwned").exists()
    # Nothing is left of it for others.
    assert list(host.runtime.iterdir()) == []


@pytest.mark.parametrize(("code", "held"), [(0, False), (1, False), (125, True), (127, True)])
def test_the_terminal_stays_where_isoctl_says_why_nothing_runs(host: Host, code: int, held: bool) -> None:
    host.offer(("htop", "htop", ["sh", "-c", f"exit {code}"]), terminal=True)
    host.launcher("wofi", "htop")
    keys, screen = host.directory / "keys", host.directory / "screen"
    os.mkfifo(keys)
    host.install("foot", f"({JOINS.format(host.directory)}) <> {keys}; touch {host.directory}/{MARK}")
    assert host.run("blog").returncode == 0
    if held:
        until(lambda: screen.exists() and "Enter closes this window" in screen.read_text())
        assert not (host.directory / MARK).exists()
        keys.write_text("\n")
    until((host.directory / MARK).exists)
    assert ("Enter closes this window" in screen.read_text()) is held


@pytest.mark.parametrize("token", ["0" * 32, "0", "../../etc/passwd", "'; x"])
def test_a_terminal_without_a_program_says_so(host: Host, token: str) -> None:
    done = host.isoctl("__terminal", token)
    assert done.returncode == 2
    assert b"choose it once more" in done.stderr


@pytest.mark.attack("C14")
def test_a_program_that_others_could_write_or_put_there_is_not_started(host: Host) -> None:
    token = "ab" * 16
    left = host.runtime / f"isoctl-terminal-{token}"
    left.write_bytes(b"blog\0true")
    left.chmod(0o666)
    assert b"another user's" in host.isoctl("__terminal", token).stderr
    left.rename(host.runtime / "elsewhere")
    left.symlink_to("elsewhere")
    assert host.isoctl("__terminal", token).returncode == 2
    assert not host.isod.apps


def test_without_a_terminal_emulator_it_says_what_to_install(host: Host, desktop: Notifications) -> None:
    host.offer(("htop", "htop", ["htop"]), terminal=True)
    host.launcher("wofi", "htop")
    text = "htop needs a terminal, and no terminal emulator was found; install foot, or name yours in TERMINAL"
    done = host.run("blog")
    assert done.returncode != 0
    assert text in done.stderr.decode()
    assert desktop.shown == [("isoctl menu", text)]
