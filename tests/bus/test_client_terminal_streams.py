"""`-t` with redirected streams, and Ctrl-Z: what is asked on the terminal, what goes where it was sent."""

import os
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from buses import Bus
from client import until
from fakeisod import FakeIsod, fake_isod
from screen import Screen


@pytest.fixture
def isod(bus: Bus) -> Iterator[FakeIsod]:
    with fake_isod(bus.address) as running:
        yield running


def test_forced_with_stderr_elsewhere(screen: Screen, isod: FakeIsod, tmp_path: Path) -> None:
    """N8: what is redirected stays so."""
    with (tmp_path / "errors").open("wb") as errors:
        process = screen.start(
            "run", "-t", "blog", "sh", "-c", "test -t 0 && test -t 1 && echo yes; echo no >&2", stderr=errors
        )
    assert process.wait(10) == 0
    screen.read_until(b"yes")
    assert (tmp_path / "errors").read_bytes() == b"no\n"
    assert screen.is_as_before()


# As sudo and fzf do: what they ask is on the terminal, what they give on standard output.
ASKING = "echo question >/dev/tty; read -r line </dev/tty; echo answer:$line"


@pytest.mark.parametrize(
    "redirected", [["stdout"], ["stdin"], ["stderr"], ["stdin", "stdout"], ["stdin", "stdout", "stderr"]]
)
def test_forced_with_streams_elsewhere_the_terminal_is_dev_tty(
    screen: Screen, isod: FakeIsod, tmp_path: Path, redirected: list[str]
) -> None:
    """N8: `isoctl run -t blog sudo x > log`, `fzf > choice`: as on the host and with ssh -t."""
    (tmp_path / "stdin").write_text("given\n")
    files = {name: (tmp_path / name).open("rb" if name == "stdin" else "wb") for name in redirected}
    script = (
        f"{ASKING}; cat | sed s/^/input:/; echo error >&2" if "stdin" in redirected else f"{ASKING}; echo error >&2"
    )
    process = screen.start("run", "-t", "blog", "sh", "-c", script, **files)
    for file in files.values():
        file.close()
    screen.read_until(b"question")
    until(screen.is_raw)
    screen.type(b"typed\r")
    assert process.wait(10) == 0
    lines = ["answer:typed", "input:given"] if "stdin" in files else ["answer:typed"]
    if "stdout" in files:
        assert (tmp_path / "stdout").read_text().splitlines() == lines
        assert b"answer" not in screen.seen
    else:
        for line in lines:
            screen.read_until(line.encode())
    if "stderr" in files:
        assert (tmp_path / "stderr").read_text() == "error\n"
    else:
        screen.read_until(b"error")
    assert screen.is_as_before()


def test_the_end_of_what_is_redirected_is_not_waited_for(screen: Screen, isod: FakeIsod, tmp_path: Path) -> None:
    """N8: nobody holds the terminal or the pipe open once the app is over."""
    began = time.monotonic()
    with (tmp_path / "out").open("wb") as out:
        assert screen.start("run", "-t", "blog", "sh", "-c", "echo last >/dev/tty; exit 3", stdout=out).wait(10) == 3
    screen.read_until(b"last")
    assert time.monotonic() - began < 1.5


def test_a_reader_of_the_output_writes_lines_to_the_terminal_as_ever(screen: Screen, isod: FakeIsod) -> None:
    """N8: `isoctl run -t blog sudo x | grep y`: a raw terminal would show stairs, one in cooked mode spoil vim."""
    script = "echo cooked >/dev/tty; sleep 0.2; stty raw </dev/tty; printf 'a\\nb' >/dev/tty; sleep 0.2"
    process = screen.script(f'isoctl run -t blog sh -c "{script}" | cat; echo over')
    screen.read_until(b"cooked\r")
    assert termios.tcgetattr(screen.slave)[1] & termios.OPOST
    screen.read_until(b"a\nb")
    screen.read_until(b"over\r\n")
    assert process.wait(10) == 0
    assert screen.is_as_before()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_ctrl_z_stops_isoctl_and_the_app_until_they_are_continued(screen: Screen, isod: FakeIsod) -> None:
    """N25: it did nothing, so that an app which ignores Ctrl-C needed a second terminal."""
    text = "isoctl run blog sh -c 'trap \"\" INT; echo ready; read x; echo got $x; exit 4'; echo stopped:$?; read y; "
    process = screen.script(text + "echo typed:$y; fg >/dev/null; echo ended:$?")
    screen.read_until(b"ready")
    until(screen.is_raw)
    screen.type(b"\x03\x1a")
    screen.read_until(b"stopped:148")
    until(screen.is_as_before)
    assert isod.only_app.process is not None
    until(lambda: state_of(isod.only_app.process.pid) == "T")
    screen.type(b"shell\n")
    screen.read_until(b"typed:shell")
    until(screen.is_raw)
    until(lambda: state_of(isod.only_app.process.pid) == "S")
    screen.type(b"app\r")
    screen.read_until(b"ended:4")
    assert b"got app" in screen.seen
    assert process.wait(10) == 0
    assert screen.is_as_before()


@pytest.mark.parametrize("takes", ["stty raw", "stty susp undef", "trap : TSTP", "trap '' TSTP"])
def test_ctrl_z_is_the_apps_where_it_takes_it(screen: Screen, isod: FakeIsod, takes: str) -> None:
    """N25: editors, shells, pagers."""
    process = screen.start("run", "blog", "sh", "-c", f"{takes}; echo ready; head -c 2; echo over")
    screen.read_until(b"ready")
    until(screen.is_raw)
    screen.type(b"\x1a")
    time.sleep(0.3)  # time for what must not happen
    assert screen.is_raw()
    screen.type(b"\nxyz\n")
    screen.read_until(b"over")
    assert process.wait(10) == 0


@pytest.mark.attack("C11")
@pytest.mark.parametrize("redirected", [["stdin"], ["stdout"], ["stdin", "stdout", "stderr"]])
def test_the_callers_terminal_never_enters_whatever_is_redirected(
    screen: Screen, isod: FakeIsod, tmp_path: Path, redirected: list[str]
) -> None:
    """N8: what is typed into it would be the caller's own input (CVE-2017-5226)."""
    files = {name: (tmp_path / name).open("w+b") for name in redirected}
    script = f"{{ ls -l /proc/self/fd; ps -o tty= -p $$; echo end; }} > {tmp_path}/found"
    process = screen.start("run", "-t", "blog", "sh", "-c", script, **files)
    for file in files.values():
        file.close()
    assert process.wait(10) == 0
    found = (tmp_path / "found").read_text().split()
    own = os.ttyname(screen.slave)
    assert own not in found
    assert own.removeprefix("/dev/") not in found
    assert "end" in found
