"""Terminals that a container does not know: which stands for one, and how isod looks for it among hostile files."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from isod.core.terminal_types import asked_type, nearest_types
from isod.host.terminfo import first_known
from isod.ports import Account

ALICE = Account("alice", 1000, 1000, "/home/alice", "/bin/bash")
# What ncurses-base has, which is all that a small Debian knows.
SMALL = "ansi dumb linux rxvt screen screen-256color tmux tmux-256color vt100 vt220 xterm xterm-256color".split()


def known(root: Path, names: Iterable[str], account: Account = ALICE) -> str:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return first_known(fd, account, names)
    finally:
        os.close(fd)


def entry(root: Path, name: str, directory: str = "usr/share/terminfo", letter: str = "") -> Path:
    path = root / directory / (letter or name[0]) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x1a\x01")
    return path


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("foot", "xterm-256color"),
        ("alacritty", "xterm-256color"),
        ("xterm-kitty", "xterm-256color"),
        ("xterm-ghostty", "xterm-256color"),
        ("vte-256color", "xterm-256color"),
        ("screen.xterm-256color", "screen-256color"),
        ("tmux-direct", "tmux-256color"),
        ("rxvt-unicode-256color", "rxvt"),
        ("linux-16color", "linux"),
        ("vt420", "vt220"),
        ("xterm", "xterm"),
        ("dumb", "dumb"),
        ("../../etc/passwd", "xterm-256color"),
        ("a/b", "xterm-256color"),
        ("x" * 1000, "xterm-256color"),
    ],
)
def test_a_terminal_that_is_not_known_inside_becomes_the_nearest(tmp_path: Path, asked: str, told: str) -> None:
    """N24, R-3: with foot, alacritty, kitty and ghostty clear, less and vim said "unknown terminal type"."""
    for name in SMALL:
        entry(tmp_path, name, "lib/terminfo")
    assert known(tmp_path, nearest_types(asked)) == told


def test_an_entry_of_its_own_is_taken_wherever_it_is(tmp_path: Path) -> None:
    places = ("etc/terminfo", "lib/terminfo", "usr/share/terminfo", "home/alice/.terminfo",
              "run/current-system/sw/share/terminfo", "etc/profiles/per-user/alice/share/terminfo")  # fmt: skip
    for number, place in enumerate(places):
        entry(tmp_path / str(number), "xterm")
        entry(tmp_path / str(number), "xterm-kitty", place)
        assert known(tmp_path / str(number), nearest_types("xterm-kitty")) == "xterm-kitty"
    entry(tmp_path / "hex", "xterm-kitty", letter="78")
    assert known(tmp_path / "hex", nearest_types("xterm-kitty")) == "xterm-kitty"
    (tmp_path / "nothing").mkdir()
    assert known(tmp_path / "nothing", nearest_types("foot")) == ""


def test_an_empty_name_is_none() -> None:
    """N24: the last that names one counts."""
    assert asked_type({"TERM": "foot"}, {"TERM": ""}) == "foot"
    assert asked_type({"TERM": "foot"}, {"TERM": "linux"}) == "linux"
    assert asked_type({"TERM": ""}, {}) == ""


@pytest.mark.attack("C02")
def test_what_is_no_entry_is_not_followed_out_of_the_root_or_waited_for(tmp_path: Path) -> None:
    """N24: the files are the container's: links lead nowhere but into it, and nothing is read or opened."""
    outside = entry(tmp_path, "foot", "outside")
    root = tmp_path / "root"
    directory = root / "usr/share/terminfo/f"
    directory.mkdir(parents=True)
    (directory / "foot").symlink_to(outside)
    assert known(root, ("foot",)) == ""
    (directory / "foot").unlink()
    (directory / "foot").symlink_to("foot")
    assert known(root, ("foot",)) == ""
    (directory / "foot").unlink()
    os.mkfifo(directory / "foot")
    looked = threading.Thread(target=lambda: known(root, ("foot",)), daemon=True)
    looked.start()
    looked.join(5)
    assert not looked.is_alive()
    (directory / "foot").unlink()
    (directory / "foot").mkdir()
    assert known(root, ("foot",)) == ""


@pytest.mark.attack("C02")
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="mounts")
def test_no_file_system_of_a_users_is_asked(tmp_path: Path) -> None:
    """One in their home may never answer, and isod would wait for it at each launch of everybody."""
    entry(tmp_path, "foot", "home/alice/.terminfo")
    (tmp_path / "usr").mkdir()
    assert known(tmp_path, ("foot",)) == "foot"
    mounted = 'mount -t tmpfs none "$1" && mkdir -p "$1/.terminfo/f" && echo > "$1/.terminfo/f/foot" && shift && "$@"'
    program = f"""
import os
from isod.host.terminfo import first_known
from isod.ports import Account
fd = os.open({str(tmp_path)!r}, os.O_RDONLY)
print(repr(first_known(fd, Account("alice", 1000, 1000, "/home/alice", "/bin/sh"), ["foot"])))
"""
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted, "sh", f"{tmp_path}/home/alice", sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("''\n", 0), done.stderr
