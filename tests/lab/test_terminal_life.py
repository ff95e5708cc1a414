"""The caller's terminal through all that can happen to it, and how long an app lives when its caller is gone."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from lab.machine import Lab
from lab.policies import added_policy
from lab.terminal import Terminal

# Notes which signals reach it, and ends by those named in its second argument.
NOTER = """
import os, signal, sys, time
log, ends_by = sys.argv[1], sys.argv[2:]
def note(number, frame):
    name = signal.Signals(number).name
    with open(log, "a") as file:
        file.write(name + "\\n")
    if name in ends_by:
        os._exit(0)
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
    signal.signal(number, note)
sys.stdout.write("READY\\n")
sys.stdout.flush()
while True:
    time.sleep(1000)
"""

SIZE_TELLER = """
import os, signal
# blocked, so that none is lost between the first look and the wait
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
while True:
    size = os.get_terminal_size()
    print(size.lines, size.columns, flush=True)
    signal.sigwait({signal.SIGWINCH})
"""

SETTINGS_SAME = "stty -a > ~/after; cmp ~/before ~/after && echo SAME || echo DIFFERENT"


def shell(lab: Lab, script: str, **options: int) -> Terminal:
    return lab.pty("bash", "--norc", "-c", f"stty -a > ~/before; {script}", user="alice", **options)


def runs(lab: Lab, marker: str) -> bool:
    return lab.in_container("blog", "pgrep", "-f", marker, check=False).returncode == 0


def kill_isoctl(lab: Lab, number: signal.Signals) -> None:
    lab.run("pkill", f"-{number.name[3:]}", "-u", "alice", "-x", "isoctl")


@pytest.fixture
def noted(lab: Lab) -> Iterator[Callable[[], list[str]]]:
    """The signals that the noting program got; it runs in a container whose apps have 3 s to end."""
    with added_policy(lab, "blog", "stop_timeout_sec = 3"):
        lab.start("blog")
        lab.in_container("blog", "rm", "-f", "/tmp/noted")

        def read() -> list[str]:
            return lab.in_container("blog", "cat", "/tmp/noted", check=False).stdout.split()

        yield read


def noting(*ends_by: str) -> list[str]:
    return ["isoctl", "run", "blog", "--", "python3", "-c", NOTER, "/tmp/noted", *ends_by]


def app_unit(lab: Lab) -> str:
    # lists cut long commands
    (app,) = [app for app in json.loads(lab.run("isoctl", "ps", "--json", user="alice").stdout)
              if app["command"][:2] == ["python3", "-c"] and app["running"]]  # fmt: skip
    return f"isoctl-app-{app['id']}.service"


def test_the_window_size_follows(lab: Lab) -> None:
    with shell(lab, f"isoctl run blog -- python3 -c '{SIZE_TELLER}'", rows=24, columns=80) as terminal:
        terminal.read_until("24 80")
        terminal.resize(50, 132)
        terminal.read_until("50 132")
        terminal.resize(7, 11)
        terminal.read_until("7 11")
        kill_isoctl(lab, signal.SIGTERM)


WITHOUT_A_SIZE = {
    "script": "script -qc 'isoctl run blog stty size' /dev/null",
    "python's pty": """python3 -c 'import pty; pty.spawn(["isoctl", "run", "blog", "stty", "size"])'""",
    "asked for": "script -qc 'isoctl run -t blog stty size' /dev/null",
    "a shell": "echo 'stty size; exit' | script -qc 'isoctl shell blog' /dev/null",
}


@pytest.mark.parametrize("command", WITHOUT_A_SIZE.values(), ids=WITHOUT_A_SIZE)
def test_a_terminal_without_a_size_works(lab: Lab, command: str) -> None:
    """N4: what a script, expect, emacs or ssh -tt from cron gives has 0 rows and 0 columns."""
    done = lab.run("sh", "-c", command, user="alice")
    assert "24 80" in done.stdout, done


def test_a_unit_on_a_terminal_without_a_size_works(lab: Lab) -> None:
    """N4: a unit with StandardInput=tty."""
    with lab.pty("sh", "-c", "tty; sleep 1000", rows=0, columns=0) as owner:
        path = owner.read_until("\n").strip().decode()
        on_it = [f"-pTTYPath={path}", "-pStandardInput=tty-force", "-pStandardOutput=tty", "-pUser=alice"]
        lab.run("systemd-run", "--wait", "--collect", *on_it, "isoctl", "run", "blog", "stty", "size")
        owner.read_until("24 80")


def test_control_characters_are_plain_input(lab: Lab) -> None:
    """Three times ^] ends `machinectl shell`; nothing that is typed means anything to isoctl."""
    script = "isoctl run blog -- sh -c 'stty raw -echo; echo READY; head -c 9 | od -An -tx1'; echo code=$?; "
    with shell(lab, script + SETTINGS_SAME) as terminal:
        terminal.read_until("READY")
        terminal.send(b"\x1d\x1d\x1d\x1a\x03\x1c\x00\x13\x04")
        terminal.read_until("1d 1d 1d 1a 03 1c 00 13 04")
        terminal.read_until("code=0")
        terminal.read_until("SAME")


def test_a_stop_by_ctrl_z_is_a_stop_inside(lab: Lab) -> None:
    """I-72: job control belongs to the shell inside; isoctl itself goes on."""
    with shell(lab, "isoctl run blog -- bash --norc -i; echo code=$?; " + SETTINGS_SAME) as terminal:
        terminal.send("PS1=; echo BE''GIN\n")
        terminal.read_until("BEGIN")
        terminal.send("sleep 4801\n")
        lab.wait_for(lambda: runs(lab, "sleep 4801"))
        terminal.send(b"\x1a")
        terminal.read_until("Stopped")
        states = lab.run("ps", "-C", "isoctl", "-o", "stat=").stdout.split()
        assert states
        assert not [state for state in states if state.startswith("T")]
        terminal.send("kill %1; fg; exit 6\n")
        terminal.read_until("code=6")
        terminal.read_until("SAME")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
def test_the_terminal_is_as_before_when_a_signal_ends_isoctl(lab: Lab, number: signal.Signals) -> None:
    script = "isoctl run blog -- sh -c 'echo READY; sleep 4802'; echo code=$?; "
    with shell(lab, "trap '' HUP QUIT; (trap - HUP QUIT; " + script + SETTINGS_SAME + ")") as terminal:
        terminal.read_until("READY")
        kill_isoctl(lab, number)
        terminal.read_until(f"code={128 + number}")
        terminal.read_until("SAME")
    lab.wait_for(lambda: not runs(lab, "sleep 4802"))


def test_the_terminal_is_as_before_when_the_app_changed_its_own(lab: Lab) -> None:
    script = "isoctl run blog -- sh -c 'stty -echo raw rows 5 cols 5; exit 4'; echo code=$?; "
    with shell(lab, script + SETTINGS_SAME) as terminal:
        terminal.read_until("code=4")
        terminal.read_until("SAME")


def test_in_the_background_no_setting_is_touched(lab: Lab) -> None:
    script = (
        "set -m; isoctl run blog -- sh -c 'tty; echo READY; sleep 4803' & "
        "while ! isoctl ps | grep -q 4803; do sleep 0.1; done; sleep 0.5; "
        f"{SETTINGS_SAME}; kill %1; wait %1; {SETTINGS_SAME}"
    )
    with shell(lab, script) as terminal:
        assert b"not a tty" in terminal.read_until("READY")
        terminal.read_until("SAME")
        terminal.read_until("SAME")


def test_a_terminal_that_is_not_its_own_is_not_touched(lab: Lab) -> None:
    """Started from a console, sway gives its children a terminal that is not theirs to change."""
    script = (
        "setsid isoctl run blog -- sh -c 'tty; echo READY; cat; sleep 4804' & "
        "while ! isoctl ps | grep -q 4804; do sleep 0.1; done; sleep 0.5; "
        f"{SETTINGS_SAME}; read line; echo GOT:$line; kill $!; wait; {SETTINGS_SAME}"
    )
    with shell(lab, script) as terminal:
        assert b"not a tty" in terminal.read_until("READY")
        terminal.read_until("SAME")
        terminal.send("typed\n")
        terminal.read_until("GOT:typed")
        terminal.read_until("SAME")


def end_by_closing(lab: Lab, arguments: list[str]) -> None:
    terminal = lab.pty(*arguments, user="alice")
    terminal.read_until("READY")
    terminal.close()


def end_by_kill(lab: Lab, arguments: list[str]) -> None:
    process = lab.popen(*arguments, user="alice", stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == b"READY\n"
        kill_isoctl(lab, signal.SIGKILL)
        process.stdout.close()


ENDINGS = pytest.mark.parametrize("end", [end_by_closing, end_by_kill])


@ENDINGS
@pytest.mark.parametrize("ends_by", ["SIGHUP", "SIGTERM"])
def test_an_app_that_obeys_ends_with_its_caller(
    lab: Lab, noted: Callable[[], list[str]], end: Callable[[Lab, list[str]], None], ends_by: str
) -> None:
    """I-77: HUP and TERM come at once, whichever of the two it obeys."""
    end(lab, noting(ends_by))
    lab.wait_for(lambda: not runs(lab, "/tmp/noted"), 2.5)
    assert ends_by in noted()


@ENDINGS
def test_an_app_that_obeys_nothing_is_killed_after_the_policys_time(
    lab: Lab, noted: Callable[[], list[str]], end: Callable[[Lab, list[str]], None]
) -> None:
    """Feasibility 4: a program that ignores the closing of its terminal lives on for 90 s by default."""
    end(lab, noting())
    lab.wait_for(lambda: {"SIGHUP", "SIGTERM"} <= set(noted()), 2.5)
    assert runs(lab, "/tmp/noted")
    unit = app_unit(lab)
    assert lab.in_container("blog", "systemctl", "show", "-P", "TimeoutStopUSec", unit).stdout == "3s\n"
    lab.wait_for(lambda: not runs(lab, "/tmp/noted"), 15)
    said = lab.in_container("blog", "journalctl", "-q", "-u", unit).stdout
    assert "timed out. Killing" in said
    lab.wait_for(lambda: "/tmp/noted" not in lab.run("isoctl", "ps", user="alice").stdout)


@pytest.mark.parametrize(
    "start",
    ["trap '' HUP; sleep 4951 &", "setsid sleep 4951 & until pgrep -f '^sleep 4951' >/dev/null; do :; done;"],
    ids=["ignoring SIGHUP", "own session"],
)
def test_what_a_command_leaves_on_a_terminal_lives_as_the_manual_says(lab: Lab, start: str) -> None:
    """N6: left-overs died with the terminal, and the manual said that they live on."""
    with lab.pty("isoctl", "run", "blog", "sh", "-c", f"{start} echo STARTED", user="alice") as terminal:
        terminal.read_until("STARTED")
        assert terminal.wait(20) == 0
    lab.wait_for(lambda: "4951" in lab.run("isoctl", "ps", user="alice").stdout)
    time.sleep(1)  # time for what must not happen
    assert runs(lab, "sleep 4951")
    (app,) = [app for app in json.loads(lab.run("isoctl", "ps", "--json", user="alice").stdout) if "4951" in str(app)]
    lab.run("isoctl", "kill", app["id"], user="alice")
    lab.wait_for(lambda: not runs(lab, "sleep 4951"))


def test_a_detached_app_outlives_the_terminal_and_is_found(lab: Lab, noted: Callable[[], list[str]]) -> None:
    arguments = noting("SIGTERM")
    arguments.insert(2, "--detach")
    terminal = lab.pty("sh", "-c", '"$@"; echo STARTED; sleep 1000', "sh", *arguments, user="alice")
    app_id = terminal.read_until("STARTED").split()[0].decode()
    terminal.close()
    unit = app_unit(lab)
    assert app_id in unit
    lab.wait_for(lambda: "READY" in lab.run("isoctl", "logs", app_id, user="alice").stdout)
    time.sleep(1)  # time for what must not happen
    assert runs(lab, "/tmp/noted")
    assert noted() == []
    assert app_id[:8] in lab.run("isoctl", "ps", user="alice").stdout
    lab.run("isoctl", "kill", app_id, user="alice")
    lab.wait_for(lambda: not runs(lab, "/tmp/noted"))
    assert noted() == ["SIGTERM"]


def test_a_terminal_that_the_container_does_not_know_is_told_as_the_nearest(lab: Lab) -> None:
    """N24, R-3: with kitty and others clear, less and vim said "unknown terminal type", and doctor nothing."""
    kitty = {"TERM": "xterm-kitty"}
    show = ["isoctl", "run", "blog", "--", "sh", "-c", "echo TERM:$TERM:; tput -V >/dev/null; clear && echo CLEARED"]
    with lab.pty(*show, user="alice", env=kitty) as terminal:
        terminal.read_until("TERM:xterm-256color:")
        terminal.read_until("CLEARED")
    with lab.pty(*show, user="alice", env={"TERM": ""}) as terminal:
        terminal.read_until("TERM:xterm:")
    found = lab.run("isoctl", "doctor", "blog", user="alice", env=kitty, check=False)
    assert "it does not know the terminal xterm-kitty; programs are told xterm-256color" in found.stdout
    assert "[terminfo-missing]" in found.stdout
    # what doctor says, by the account for itself
    entry = lab.run("infocmp", "-x", "xterm").stdout.replace("xterm|", "xterm-kitty|")
    lab.run("isoctl", "run", "blog", "--", "tic", "-x", "-", user="alice", stdin=entry.encode())
    try:
        with lab.pty(*show, user="alice", env=kitty) as terminal:
            terminal.read_until("TERM:xterm-kitty:")
            terminal.read_until("CLEARED")
        found = lab.run("isoctl", "doctor", "blog", user="alice", env=kitty, check=False)
        assert "terminfo-missing" not in found.stdout
    finally:
        lab.in_container("blog", "rm", "-r", "/home/alice/.terminfo")
