"""`isoctl run` in a terminal: what it changes of the caller's, when, and that it always puts it back."""

import fcntl
import os
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from buses import Bus
from client import until
from fakeisod import FakeIsod, fake_isod
from screen import Screen


@pytest.fixture
def isod(bus: Bus) -> Iterator[FakeIsod]:
    with fake_isod(bus.address) as running:
        yield running


@pytest.mark.attack("C11")
def test_the_app_has_a_terminal_of_its_own_and_ours_is_put_back(screen: Screen) -> None:
    """I-72: the settings after are those before."""
    process = screen.start("run", "blog", "sh", "-c", "tty; stty size; read -r line; echo got $line; exit 6")
    screen.read_until(b"31 97")
    assert os.ttyname(screen.slave).encode() not in screen.seen
    assert screen.is_raw()
    screen.type(b"typed\r")
    assert process.wait(10) == 6
    screen.read_until(b"got typed")
    assert screen.is_as_before()


def test_control_characters_are_the_apps(screen: Screen) -> None:
    """I-72: Ctrl-Z and ^] are plain input; Ctrl-C reaches the app and not isoctl."""
    script = "stty raw -echo; echo ready; dd bs=1 count=4 2>/dev/null | od -An -tx1; stty sane; "
    script += "trap 'exit 9' INT; echo now; while :; do sleep 0.05; done"
    process = screen.start("run", "blog", "sh", "-c", script)
    screen.read_until(b"ready")
    screen.type(b"\x1a\x1d\x03\x11")
    screen.read_until(b"1a 1d 03 11")
    screen.read_until(b"now")
    screen.type(b"\x03")
    assert process.wait(10) == 9
    assert screen.is_as_before()


WINDOW_SIZE = (
    "import fcntl, struct, termios as t; print(*struct.unpack('HHHH', fcntl.ioctl(0, t.TIOCGWINSZ, bytes(8))))"
)


@pytest.mark.parametrize(
    ("size", "inside"),
    [
        ((0, 0, 0, 0), "24 80 0 0"),
        ((0, 132, 0, 0), "24 132 0 0"),
        ((50, 0, 0, 0), "50 80 0 0"),
        ((65535, 65535, 65535, 65535), "65535 65535 65535 65535"),
        ((31, 97, 970, 620), "31 97 970 620"),
    ],
)
def test_a_terminal_has_any_size_or_none_and_its_pixels(
    screen: Screen, isod: FakeIsod, size: tuple[int, ...], inside: str
) -> None:
    """N4: script, expect, emacs, python's pty and ssh -tt from a script give terminals without a size."""
    fcntl.ioctl(screen.master, termios.TIOCSWINSZ, struct.pack("HHHH", *size))
    process = screen.start("run", "blog", sys.executable, "-c", WINDOW_SIZE)
    assert process.wait(10) == 0
    screen.read_until(inside.encode())
    names = ("rows", "columns", "pixel-width", "pixel-height")
    asked = {name: value for name, value in isod.only_app.options.items() if name in names}
    assert asked == {name: value for name, value in zip(names, size, strict=True) if value}


def test_pixels_follow_and_a_size_that_is_taken_back_does_not(screen: Screen) -> None:
    """N4: images in kitty and yazi are scaled by pixels; rows of 0 would be no terminal to draw on."""
    program = f"""
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGWINCH}})
print("ready", flush=True)
while True:
    signal.sigwait({{signal.SIGWINCH}})
    {WINDOW_SIZE}
"""
    screen.start("run", "blog", sys.executable, "-uc", program)
    screen.read_until(b"ready")
    fcntl.ioctl(screen.master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 1000, 800))
    screen.read_until(b"40 100 1000 800")
    fcntl.ioctl(screen.master, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    screen.read_until(b"40 100 0 0")


def test_the_size_follows(screen: Screen) -> None:
    process = screen.start(
        "run", "blog", "sh", "-c", "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done"
    )
    screen.read_until(b"ready")
    fcntl.ioctl(screen.master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    screen.read_until(b"40 100")
    assert process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_terminal_is_put_back_when_a_signal_ends_it(screen: Screen, isod: FakeIsod, number: int) -> None:
    screen.start("run", "blog", "sh", "-c", "echo ready; exec sleep 60")
    screen.read_until(b"ready")
    until(screen.is_raw)
    isoctl_pid = os.tcgetpgrp(screen.master)
    os.kill(isoctl_pid, number)
    until(screen.is_as_before)
    assert isod.only_app.over.wait(5)


def test_the_terminal_works_on_when_the_bus_goes_and_is_put_back(bus: Bus, screen: Screen) -> None:
    """F3: the app has nothing to do with the bus, so neither has who sits before it."""
    process = screen.start("run", "blog", "sh", "-c", "echo ready; read -r x; echo got $x; exec sleep 60")
    screen.read_until(b"ready")
    until(screen.is_raw)
    isoctl_pid = os.tcgetpgrp(screen.master)
    os.kill(bus.pid, signal.SIGKILL)
    time.sleep(0.5)
    os.write(screen.master, b"typed\r")
    screen.read_until(b"got typed")
    assert screen.is_raw()
    os.kill(isoctl_pid, signal.SIGTERM)
    assert process.wait(10) == 143
    assert screen.is_as_before()


def test_closing_the_terminal_ends_the_app(screen: Screen, isod: FakeIsod) -> None:
    """I-77."""
    screen.start("run", "blog", "sh", "-c", "trap '' HUP; echo ready; exec sleep 60")
    screen.read_until(b"ready")
    until(screen.is_raw)
    os.close(screen.slave)
    os.close(screen.master)
    screen.master = screen.slave = -1
    assert isod.only_app.over.wait(5)


def test_in_the_background_nothing_is_touched(screen: Screen, isod: FakeIsod) -> None:
    process = screen.script("isoctl run blog sh -c 'sleep 0.5; test ! -t 0; echo background' & wait")
    until(lambda: isod.apps and isod.only_app.values["State"] == "running")
    assert screen.is_as_before()
    screen.read_until(b"background")
    assert process.wait(10) == 0
    assert "terminal" not in isod.only_app.options
    assert screen.is_as_before()


@pytest.mark.attack("C11")
def test_a_terminal_that_is_not_ours_is_not_touched_or_read(screen: Screen, isod: FakeIsod) -> None:
    """A compositor started on a console gives its children that console as stdin."""
    process = screen._popen(
        [
            "setsid",
            "--wait",
            *screen.isoctl.command("run", "blog", "sh", "-c", "readlink /proc/self/fd/0; cat; echo end"),
        ]
    )
    screen.type(b"for somebody else\n")
    assert process.wait(10) == 0
    screen.read_until(b"/dev/null")
    screen.read_until(b"end")
    assert "terminal" not in isod.only_app.options
    assert screen.is_as_before()


@pytest.mark.attack("C11")
@pytest.mark.parametrize("flags", [["-T"], []])
def test_a_lone_terminal_is_relayed(screen: Screen, isod: FakeIsod, flags: list[str]) -> None:
    """Output to a pipe: no terminal for the app, yet what is typed reaches it."""
    reader, writer = os.pipe()
    process = screen.start("run", *flags, "blog", "head", "-1", stdout=writer)
    os.close(writer)
    until(lambda: isod.apps and isod.only_app.values["State"] == "running")
    screen.type(b"a line\n")
    assert os.read(reader, 100) == b"a line\n"
    os.close(reader)
    assert process.wait(10) == 0
    assert "terminal" not in isod.only_app.options
    assert screen.is_as_before()


def test_never_means_never(screen: Screen, isod: FakeIsod) -> None:
    assert screen.start("run", "-T", "blog", "sh", "-c", "test ! -t 1").wait(10) == 0


def test_forced_without_a_terminal_is_a_sentence(screen: Screen, isod: FakeIsod) -> None:
    done = screen.isoctl.run("run", "-t", "blog", "true")
    assert done.returncode == 125
    assert b"-t needs" in done.stderr
    assert not isod.apps


def test_a_long_start_is_shown_and_cleared(screen: Screen, isod: FakeIsod) -> None:
    isod.start_sec = 1.2
    process = screen.start("run", "blog", "echo", "output")
    screen.read_until(b"starting container blog ...")
    screen.read_until(b"\r\x1b[K")
    screen.read_until(b"output")
    assert process.wait(10) == 0


def test_quiet_shows_nothing(screen: Screen, isod: FakeIsod) -> None:
    isod.start_sec = 0.8
    isod.warning = ("org.isoctl1.Error.NoSession", "no display here")
    assert screen.start("run", "-q", "blog", "echo", "output").wait(10) == 0
    assert screen.read_until(b"output").strip() == b"output"


def test_a_warning_is_shown_once(screen: Screen, isod: FakeIsod) -> None:
    isod.warning = ("org.isoctl1.Error.NoSession", "no display \x9bhere")
    assert screen.start("run", "blog", "sleep", "0.3").wait(10) == 0
    screen.read_until(b"isoctl: no display \\x9bhere")
    assert screen.seen.count(b"no display") == 1


def test_a_warning_is_shown_of_a_program_that_ends_at_once(screen: Screen, isod: FakeIsod) -> None:
    """F5: one without a display does, and what it says itself is not why."""
    isod.warning = ("org.isoctl1.Error.NoSession", "no live session of uid 1000: isod-session does not run")
    assert screen.start("run", "blog", "sh", "-c", "exit 230").wait(10) == 230
    screen.read_until(b"isoctl: no live session of uid 1000: isod-session does not run")
    assert screen.seen.count(b"no live session") == 1


def test_what_a_program_wrote_that_was_over_before_its_terminal_was_fetched_is_shown(
    screen: Screen, isod: FakeIsod
) -> None:
    isod.on_call = lambda member: time.sleep(0.3 if member == "OpenTerminal" else 0)
    process = screen.start("run", "blog", "sh", "-c", "echo output; exit 5")
    assert process.wait(10) == 5
    screen.read_until(b"output")
    assert screen.is_as_before()
