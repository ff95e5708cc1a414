"""What isod stands on is restarted, the message bus and systemd above all: who waits does not notice."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.machine import Lab

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", params=["dbus-daemon", "dbus-broker"])
def host(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """One on each broker, since its own is restarted."""
    with Lab.boot(bus=request.param) as booted:
        for container in ("blog", "shared"):
            booted.run("isoctl", "run", container, "true", user="alice")
        yield booted


@contextmanager
def again_and_again(lab: Lab, command: str, pause_sec: float) -> Iterator[None]:
    """Have a command run on the host over and over."""
    script = f"while ! test -e /run/enough; do {command}; sleep {pause_sec}; done"
    with lab.popen("sh", "-c", script, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            lab.run("touch", "/run/enough")
            process.wait(60)
            lab.run("rm", "/run/enough")


def launches(lab: Lab, count: int) -> list[tuple[int, str]]:
    """Run something that takes no time, one after the other; gives what did not end well."""
    done = [lab.run("isoctl", "run", "blog", "true", user="alice", check=False) for _ in range(count)]
    return [(one.returncode, one.stderr) for one in done if one.returncode]


def test_a_restart_of_the_bus_ends_no_app_that_is_waited_for(host: Lab) -> None:
    """F3: 8 of 8 waiting `isoctl run` and their apps were ended, by `systemctl restart dbus`.

    Some come while isod still connects to containers: it took those for gone, and what ran in them for ended.
    """
    script = "echo x >> /tmp/began; while ! test -e /tmp/go; do sleep 0.1; done; exit 7"
    pipe = subprocess.PIPE
    waiting = [
        host.popen("isoctl", "run", container, "sh", "-c", script, user="alice", stderr=pipe)
        for container in ("blog", "shared")
        for _ in range(4)
    ]
    for container in ("blog", "shared"):
        root = host.host_path(f"/var/lib/machines/{container}")
        host.wait_for(lambda root=root: _began(host, root.name) == 4, 20)  # type: ignore[misc]
    for pause_sec in (2, 1.5, 1.8, 1.6, 2):
        host.run("systemctl", "reset-failed", "dbus.service")  # five in ten seconds are what systemd allows
        host.run("systemctl", "restart", "dbus.service")
        time.sleep(pause_sec)
    assert [one.poll() for one in waiting] == [None] * 8
    host.wait_for(lambda: host.run("isoctl", "list", user="alice", check=False).returncode == 0, 20)
    for container in ("blog", "shared"):
        host.in_container(container, "touch", "/tmp/go")
    for one in waiting:
        with one:
            stderr = one.communicate(timeout=30)[1]
            assert (one.returncode, stderr) == (7, b"")
    for container in ("blog", "shared"):
        assert _began(host, container) == 4
        host.in_container(container, "rm", "/tmp/go", "/tmp/began")


def _began(lab: Lab, container: str) -> int:
    done = lab.in_container(container, "cat", "/tmp/began", check=False)
    return done.stdout.count("x")


def test_a_systemd_that_executes_itself_anew_fails_no_launch(host: Lab) -> None:
    """F9: 24 of 100, with "your credentials can't be established"."""
    with again_and_again(host, "systemctl daemon-reexec", 0.7):
        assert launches(host, 30) == []


def test_one_inside_fails_none_either(host: Lab) -> None:
    """F9: 5 of 60, with "its systemd refused the app (Message recipient disconnected ...)"."""
    with again_and_again(host, "systemctl -M blog daemon-reexec", 0.7):
        assert launches(host, 30) == []


def test_cold_starts_get_through_too(host: Lab) -> None:
    """F9: 3 of 18."""
    with again_and_again(host, "systemctl daemon-reexec", 1.0):
        for _ in range(4):
            host.run("systemctl", "stop", "container@blog.service", check=False)
            assert launches(host, 1) == []


def test_the_tenth_restart_of_isod_is_as_quick_as_the_first(host: Lab) -> None:
    """F10: systemd counts restarts from the boot on, so each outage was 5 s from the sixth on."""
    for _ in range(9):
        host.run("systemctl", "kill", "-s", "KILL", "isod")
        assert launches(host, 1) == []
    host.wait_for(lambda: host.run("systemctl", "show", "-P", "NRestarts", "isod").stdout == "0\n")
    assert host.run("systemctl", "show", "-P", "RestartUSecNext", "isod").stdout == "200ms\n"
    host.run("systemctl", "kill", "-s", "KILL", "isod")
    began = time.monotonic()
    assert launches(host, 1) == []
    assert time.monotonic() - began < 30


def test_an_isod_that_is_killed_in_a_cold_start_is_asked_again(host: Lab) -> None:
    """F15: "no longer knows the app", 4 of 5 times; it had never run."""
    for delay_sec in (0.1, 0.3, 0.6, 1.0):
        host.stop_container("shared")
        command = ("isoctl", "run", "shared", "sh", "-c", "cat; echo x >> /tmp/cold; exit 7")
        pipe = subprocess.PIPE
        with host.popen(*command, user="alice", stdin=pipe, stdout=pipe, stderr=pipe) as process:
            time.sleep(delay_sec)
            host.run("systemctl", "kill", "-s", "KILL", "isod")
            stdout, stderr = process.communicate(b"data", 60)
        assert (process.returncode, stdout, stderr) == (7, b"data", b"")
        assert host.in_container("shared", "cat", "/tmp/cold").stdout == "x\n"
