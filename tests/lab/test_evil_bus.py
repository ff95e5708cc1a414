"""A container whose root has put its own bus in the place of the real one: isod gets away, others notice nothing."""

import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import fakebus, isod_process
from lab.enter import spawn
from lab.machine import Lab

SCRIPT = Path(fakebus.__file__).read_text()
REAL = fakebus.PATH + ".real"
END_MAX_SEC = 10.0


@pytest.fixture(scope="module")
def evil(lab: Lab) -> Lab:
    """A lab where alice's session runs in evil, so that a launch goes as far as the start of its app."""
    for container in ("evil", "blog"):
        lab.run("isoctl", "run", container, "true", user="alice")
    return lab


@contextmanager
def fake_bus(lab: Lab, behaviour: str) -> Iterator[None]:
    """Have a fake bus in evil, and an isod that has no connection to the real one."""
    lab.in_container("evil", "mv", fakebus.PATH, REAL)
    try:
        with lab.container_popen("evil", "python3", "-c", SCRIPT, behaviour, stdout=subprocess.PIPE) as fake:
            try:
                assert fake.stdout is not None
                assert fake.stdout.readline() == b"ready\n"
                lab.run("systemctl", "restart", "isod")
                yield
            finally:
                fake.end()
    finally:
        lab.in_container("evil", "mv", REAL, fakebus.PATH)


def run(lab: Lab, container: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    started_sec = time.monotonic()
    done = lab.run("isoctl", "run", container, "true", user="alice", check=False)
    return time.monotonic() - started_sec, done


@pytest.mark.attack("C21")
@pytest.mark.parametrize("behaviour", fakebus.BEHAVIOURS)
def test_a_launch_ends_in_an_error_and_other_containers_are_served(evil: Lab, behaviour: str) -> None:
    """S21: dbus-next is held for ever by an endless line, for 20 s by a flood, and loses itself in nested variants."""
    with fake_bus(evil, behaviour):
        run(evil, "blog")
        fds, rss_kib = isod_process.open_fds(evil), isod_process.rss_kib(evil)
        with evil.popen(
            "isoctl", "run", "evil", "true", user="alice", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as attacked:
            started_sec = time.monotonic()
            others = [run(evil, "blog") for _ in range(5)]
            _, stderr = attacked.communicate(timeout=60)
            took_sec = time.monotonic() - started_sec
        assert attacked.returncode == 125
        assert stderr.startswith(b"isoctl: container 'evil'")
        # one line, and nothing that a terminal acts on
        assert stderr.count(b"\n") == 1
        assert all(byte >= 0x20 for byte in stderr.rstrip(b"\n"))
        assert "\u202e".encode() not in stderr
        assert took_sec < END_MAX_SEC
        assert [done.returncode for _, done in others] == [0] * 5
        assert statistics.median(elapsed_sec for elapsed_sec, _ in others) < 1.0
        assert isod_process.rss_kib(evil) < rss_kib + 32 * 1024
    evil.wait_for(lambda: len(isod_process.open_fds(evil)) <= len(fds) + 3, 10, "isod keeps descriptors")
    assert run(evil, "evil")[1].returncode == 0


def taken_over(lab: Lab) -> subprocess.CompletedProcess[str]:
    """Launch in evil by an isod that has to connect to its bus."""
    lab.run("systemctl", "restart", "isod")
    return run(lab, "evil")[1]


@pytest.mark.attack("C02")
@pytest.mark.parametrize("target", [fakebus.PATH, f"../../../..{fakebus.PATH}", f"/proc/1/root{fakebus.PATH}"])
def test_a_link_in_the_place_of_the_bus_leads_to_no_other(evil: Lab, target: str) -> None:
    """S02a: with a path string, the app would be started by the host's own systemd, as root."""
    evil.in_container("evil", "sh", "-c", f"mv {fakebus.PATH} {REAL}; ln -s {target} {fakebus.PATH}")
    try:
        done = taken_over(evil)
        assert done.returncode == 125
        assert done.stderr.startswith(f"isoctl: unsafe path '{fakebus.PATH}' in container 'evil'")
        assert "isoctl-app" not in evil.run("systemctl", "list-units", "--all", "--plain").stdout
    finally:
        evil.in_container("evil", "mv", REAL, fakebus.PATH)
    assert run(evil, "evil")[1].returncode == 0


@pytest.mark.attack("C02", "C04")
def test_a_bus_of_another_container_is_not_spoken_to(evil: Lab) -> None:
    """S02b: a process of blog listens at the place of evil's bus; what it is told would run there, or it would lie."""
    leader = evil.leader("evil")
    evil.in_container("evil", "mv", fakebus.PATH, REAL)
    cgroup = evil.root / "sys/fs/cgroup/machine.slice" / evil.unit("blog") / "payload/system.slice/lab-exec.service"
    environment = {"PATH": "/usr/bin:/bin"}
    command = ("python3", "-c", SCRIPT, "silent")
    with spawn(
        leader, command, cgroup=cgroup, user="root", env=environment, cwd=None,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=None,
    ) as listener:  # fmt: skip
        try:
            assert listener.stdout is not None
            assert listener.stdout.readline() == b"ready\n"
            done = taken_over(evil)
            assert done.returncode == 125
            assert "is not what answered: its bus belongs to container@blog.service" in done.stderr
        finally:
            listener.end()
            evil.in_container("evil", "mv", REAL, fakebus.PATH)
    assert run(evil, "evil")[1].returncode == 0
