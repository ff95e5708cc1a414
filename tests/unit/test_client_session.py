"""What isoctl takes for a registered isod-session: the file that one holds, not one that was left."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from isoctl import session


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    made = tmp_path / "isoctl/session-registered"
    made.parent.mkdir()
    return made


def used(flag: Path) -> str | None:
    return session._used_display(str(flag.parent.parent))


def test_there_is_none_without_a_file(flag: Path) -> None:
    assert used(flag) is None


def test_one_that_holds_its_file_is_registered(flag: Path) -> None:
    flag.write_text(f"{os.getpid()}\n/run/user/1000/wayland-1\n")
    with flag.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert used(flag) == "/run/user/1000/wayland-1"
        flag.write_text(f"{os.getpid()}\n\n")
        assert used(flag) == ""
    assert used(flag) is None


@pytest.mark.parametrize("pid", ["0", "4194305", "no number", ""])
def test_the_file_of_one_that_was_killed_is_none(flag: Path, pid: str) -> None:
    """F5: a dead one leaves its file, and so isod-session was never started again."""
    flag.write_text(f"{pid}\n/run/user/1000/wayland-1\n")
    assert used(flag) is None


def test_a_process_that_has_its_number_by_now_is_none(flag: Path) -> None:
    flag.write_text(f"{os.getpid()}\n/run/user/1000/wayland-1\n")
    assert used(flag) is None


def test_one_of_before_an_update_locks_nothing_and_is_believed(flag: Path, tmp_path: Path) -> None:
    program = tmp_path / "isod-session"
    program.write_text("print(flush=True); import time; time.sleep(60)")
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE) as older:
        assert older.stdout is not None
        older.stdout.readline()
        flag.write_text(f"{older.pid}\n/run/user/1000/wayland-1\n")
        assert used(flag) == "/run/user/1000/wayland-1"
        older.kill()


def test_who_looks_is_in_nobodys_way(flag: Path) -> None:
    flag.write_text(f"{os.getpid()}\n/run/user/1000/wayland-1\n")
    with flag.open() as looks:
        fcntl.flock(looks, fcntl.LOCK_SH)
        assert used(flag) is None
