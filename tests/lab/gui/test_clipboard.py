"""Text between the desktop and X programs of a container with an X server of its own: by the user's act alone."""

import shlex
import subprocess
from collections.abc import Iterator

import pytest

from lab.compositors import Sway
from lab.contained import show
from lab.programs import XTERM

TEXT = "zwei Zeilen\nmit \u00fc und \u20ac"
PRINT_TEXT = f"printf %s {shlex.quote(TEXT)}"
TOO_LARGE = 300_000


@pytest.fixture
def x_desk(clean_desk: Sway) -> Iterator[Sway]:
    """With an X server in blog that stays, since a window is there."""
    app = show(clean_desk, "blog", XTERM, "stays")
    yield clean_desk
    app.end()
    inside(clean_desk, "pkill -CONT xclip; pkill xclip; true")


def inside(desk: Sway, script: str, *, container: str = "blog") -> str:
    return desk.run("isoctl", "run", container, "sh", "-c", script).stdout


def copied_inside(desk: Sway, made_by: str, seen: str) -> None:
    """Copy what a command writes; who pastes then sees it."""
    desk.run("isoctl", "run", "-d", "blog", "sh", "-c", f"{made_by} | xclip -selection clipboard -in")
    desk.lab.wait_for(lambda: pasted_inside(desk) == seen, 30, "not copied")


def pasted_inside(desk: Sway, target: str = "UTF8_STRING") -> str:
    return inside(desk, f"timeout 5 xclip -selection clipboard -out -t {target} 2>/dev/null; true")


def clipboard(desk: Sway, direction: str, container: str = "blog") -> "subprocess.CompletedProcess[str]":
    return desk.run("isoctl", "clipboard", direction, container, check=False)


def test_text_copied_inside_becomes_the_desktops_when_the_user_asks(x_desk: Sway) -> None:
    x_desk.set_clipboard("as before")
    copied_inside(x_desk, PRINT_TEXT, TEXT)
    assert x_desk.clipboard() == "as before"
    done = clipboard(x_desk, "copy")
    assert (done.returncode, done.stderr) == (0, "")
    assert x_desk.clipboard() == TEXT


def test_the_desktops_text_is_pasted_inside_when_the_user_asks(x_desk: Sway) -> None:
    copied_inside(x_desk, "printf 'as before'", "as before")
    x_desk.set_clipboard(TEXT)
    assert pasted_inside(x_desk) == "as before"
    done = clipboard(x_desk, "paste")
    assert (done.returncode, done.stderr) == (0, "")
    assert pasted_inside(x_desk) == TEXT
    assert "UTF8_STRING" in pasted_inside(x_desk, "TARGETS")
    # and what was pasted inside is what is copied from there
    x_desk.set_clipboard("another")
    assert clipboard(x_desk, "copy").returncode == 0
    assert x_desk.clipboard() == TEXT


def test_nothing_of_it_reaches_another_container(x_desk: Sway) -> None:
    app = show(x_desk, "net", XTERM, "other")
    x_desk.set_clipboard(TEXT)
    assert clipboard(x_desk, "paste").returncode == 0
    assert inside(x_desk, "timeout 5 xclip -selection clipboard -out 2>/dev/null; true", container="net") == ""
    refused = clipboard(x_desk, "copy", "net")
    assert refused.returncode == 1
    assert "no text was copied" in refused.stderr
    app.end()


@pytest.mark.parametrize("direction", ["copy", "paste"])
def test_what_is_too_large_is_refused_in_a_sentence(x_desk: Sway, direction: str) -> None:
    if direction == "copy":
        copied_inside(x_desk, f"head -c {TOO_LARGE} /dev/zero | tr '\\0' x", "x" * TOO_LARGE)
    else:
        x_desk.set_clipboard("x" * TOO_LARGE)
    done = clipboard(x_desk, direction)
    assert done.returncode == 1
    assert "larger than" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_program_that_never_answers_holds_nothing_up(x_desk: Sway) -> None:
    copied_inside(x_desk, PRINT_TEXT, TEXT)
    inside(x_desk, "pkill -STOP xclip")
    done = clipboard(x_desk, "copy")
    assert done.returncode == 1
    assert "within 3 s" in done.stderr
    # the window manager goes on
    show(x_desk, "blog", XTERM, "another").end()


def test_without_an_x_program_there_is_no_clipboard_of_its_own(clean_desk: Sway) -> None:
    clean_desk.lab.wait_for(lambda: "no X server" in clipboard(clean_desk, "copy", "priv").stderr, 20)
    assert clipboard(clean_desk, "paste", "bobs").returncode == 1
    assert clipboard(clean_desk, "swap").returncode == 2
