"""A host without any program that serves X11, as a small one is: windows by Wayland, and no trace of X11.

B3: the default of `x11` is "isolated", so each X client had a server started 20 times a second, for ever.
"""

import time
from collections.abc import Iterator

import pytest

from lab.compositors import Sway
from lab.contained import show
from lab.machine import Lab
from lab.programs import PROGRAMS, XTERM, Program

XWAYLAND = "/usr/bin/Xwayland"
WAYLAND_PROGRAMS = [program for program in PROGRAMS if not program.x11]
CONTAINERS = ["blog", "priv", "net", "plain", "deb", "nixlike", "nologind", "Upper.Case-1"]


@pytest.fixture(scope="module")
def desk(lab: Lab) -> Iterator[Sway]:
    program, away = lab.host_path(XWAYLAND), lab.host_path(f"{XWAYLAND}.away")
    program.rename(away)
    try:
        with lab.desktop("alice", tells="nothing", extra_config="xwayland disable") as desktop:
            assert isinstance(desktop, Sway)
            yield desktop
    finally:
        away.rename(program)


@pytest.mark.parametrize("container", CONTAINERS)
def test_there_is_no_display_for_x_and_one_for_wayland(desk: Sway, container: str) -> None:
    script = 'echo "$WAYLAND_DISPLAY,$DISPLAY"; ls /run/isoctl/1000'
    shown = desk.run("isoctl", "run", container, "sh", "-c", script).stdout
    assert shown.split() == ["/run/isoctl/1000/wayland-0,", "wayland-0"]
    status = desk.run("isoctl", "status", container).stdout
    assert "wayland of uid 1000" in status
    assert "x11 of uid 1000" not in status
    # that it is not there is no reason to be refused
    desk.run("isoctl", "run", "--display", "require", container, "true")


@pytest.mark.parametrize("program", WAYLAND_PROGRAMS, ids=lambda program: program.name)
def test_windows_appear_as_ever(desk: Sway, program: Program) -> None:
    show(desk, "blog", program, "without X11").end()


@pytest.mark.attack("C40")
def test_an_x_program_ends_at_once_and_nothing_is_started_for_it(lab: Lab, desk: Sway) -> None:
    began_sec = time.time()
    for display in ("", "/run/isoctl/1000/X"):
        done = desk.run("isoctl", "run", "-e", f"DISPLAY={display}", "blog", "xterm", check=False, timeout_sec=20)
        assert done.returncode not in (0, 125)
    # what other tests of this host started is not of this one
    told = lab.run("journalctl", "-q", "--no-pager", "-o", "cat", f"--since=@{began_sec:.6f}").stdout
    assert "X server of container" not in told


def test_doctor_names_the_package(desk: Sway) -> None:
    doctor = desk.run("isoctl", "doctor", check=False)
    assert "neither xwayland-satellite nor Xwayland is installed" in doctor.stdout
    assert "apt-get install xwayland" in doctor.stdout


def test_soon_after_it_is_installed_launches_have_one(lab: Lab, desk: Sway) -> None:
    program, away = lab.host_path(XWAYLAND), lab.host_path(f"{XWAYLAND}.away")
    away.rename(program)
    try:
        shown = ("isoctl", "run", "blog", "printenv", "DISPLAY")
        lab.wait_for(lambda: desk.run(*shown, check=False).stdout == "/run/isoctl/1000/X\n", 20, "no DISPLAY")
        show(desk, "blog", XTERM, "there by now").end()
    finally:
        program.rename(away)
