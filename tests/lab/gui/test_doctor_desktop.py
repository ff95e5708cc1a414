"""`isoctl doctor` on desktops: a healthy one has no finding, and a broken one exactly that which fits."""

import json
import re
from collections.abc import Iterator

import pytest

from lab.compositors import Sway
from lab.desktop import Desktop
from lab.machine import Lab

BWRAP = "/usr/bin/bwrap"


@pytest.fixture
def without_bwrap(lab: Lab) -> Iterator[None]:
    """Programs with windows bring it to the lab's /usr, and so into each container, where it can mount no /proc."""
    lab.run("mv", BWRAP, f"{BWRAP}.kept")
    yield
    lab.run("mv", f"{BWRAP}.kept", BWRAP)


def doctor(desk: Desktop, *where: str) -> list[dict[str, str]]:
    done = desk.run("isoctl", "doctor", "--json", *where, check=False)
    found: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    assert done.returncode == (1 if found else 0), done.stderr
    return found


@pytest.mark.usefixtures("without_bwrap")
def test_a_healthy_desktop_has_no_finding(lab: Lab, desk: Sway) -> None:
    """Before isod-session runs, which doctor has start, and while an app has a display."""
    lab.run("systemctl", "--user", "stop", "isod-session", user="alice", check=False)
    assert doctor(desk) == []
    desk.run("isoctl", "run", "--display", "require", "blog", "true")
    for container in ("blog", "priv", "net", "plain"):
        desk.run("isoctl", "run", container, "true")
        assert doctor(desk, container) == []


@pytest.mark.usefixtures("without_bwrap")
def test_a_socket_that_root_inside_removed_is_found_and_attached_anew(lab: Lab, desk: Sway) -> None:
    desk.run("isoctl", "run", "--display", "require", "blog", "true")
    place = "/run/isoctl/1000/wayland-0"
    lab.in_container("blog", "sh", "-c", f"mount -o remount,rw,bind /run/isoctl && rm {place}")
    (finding,) = doctor(desk, "blog")
    assert finding["code"] == "display-socket-missing"
    assert place in finding["what"]
    desk.run("sh", "-c", re.findall("`([^`]+)`", finding["fix"])[0])
    assert doctor(desk, "blog") == []
    lab.in_container("blog", "mount", "-o", "remount,ro,bind", "/run/isoctl")


def test_a_sandbox_that_can_have_no_proc_is_found(lab: Lab, desk: Sway) -> None:
    """R-15: Flatpak and Steam fail with "Can't mount proc on /proc", and doctor was silent."""
    desk.run("isoctl", "run", "blog", "true")
    (finding,) = doctor(desk, "blog")
    assert finding["code"] == "sandbox-no-proc"
    (command, *_) = re.findall("`([^`]+)`", finding["fix"])
    mount = f"{command} --ro-bind / / --dev /dev true"
    desk.run("isoctl", "run", "blog", "sh", "-c", mount)
    assert "/proc/sys" in lab.in_container("blog", "cat", "/proc/1/mountinfo").stdout


def test_a_session_service_that_cannot_run_is_found(lab: Lab, desk: Sway) -> None:
    lab.run("systemctl", "--user", "mask", "--runtime", "--now", "isod-session", user="alice")
    try:
        (finding,) = doctor(desk)
        assert finding["code"] == "session-missing"
    finally:
        lab.run("systemctl", "--user", "unmask", "--runtime", "isod-session", user="alice")
    desk.run("sh", "-c", re.findall("`([^`]+)`", finding["fix"])[0])
    assert doctor(desk) == []


def test_a_desktop_without_a_program_for_x11_is_found(lab: Lab, desk: Sway) -> None:
    lab.run("mount", "--bind", "/dev/null", "/usr/bin/Xwayland")
    try:
        (finding,) = doctor(desk)
        assert finding["code"] == "x-server-missing"
        assert "apt-get install xwayland" in finding["fix"]
    finally:
        lab.run("umount", "/usr/bin/Xwayland")
    assert doctor(desk) == []
