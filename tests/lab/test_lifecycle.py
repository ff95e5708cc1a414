"""The life of a container beyond its start: idle, at login, restarted from inside, stopped with effort, left behind."""

import json
import os
import signal
import subprocess
import time

import pytest

from isod_contract import names
from lab.changes import unit_settings
from lab.login import Login
from lab.machine import Lab
from lab.policies import added_policy

KINDS = ["blog", "priv", "net", "plain", "nologind", "deb"]
KINDS_WITH_LOGIND = [kind for kind in KINDS if kind != "nologind"]


def isoctl(lab: Lab, *arguments: str, user: str = "alice", **options: object) -> subprocess.CompletedProcess[str]:
    return lab.run("isoctl", *arguments, user=user, check=False, **options)


def state(lab: Lab, container: str) -> str:
    return lab.run("systemctl", "show", "-P", "ActiveState", lab.unit(container)).stdout.strip()


def seen(lab: Lab, container: str, key: str = "State", user: str = "alice") -> object:
    done = lab.run("busctl", "get-property", "-j", names.BUS_NAME, names.container_path(container), names.CONTAINER,
                   key, user=user)  # fmt: skip
    return json.loads(done.stdout)["data"]


def invocation(lab: Lab, container: str) -> str:
    return lab.run("systemctl", "show", "-P", "InvocationID", lab.unit(container)).stdout.strip()


@pytest.mark.parametrize("container", KINDS)
def test_one_that_nobody_uses_stops_and_the_next_launch_starts_it(lab: Lab, container: str) -> None:
    assert isoctl(lab, "run", container, "true").returncode == 0
    with added_policy(lab, container, "idle_stop_sec = 1"):
        assert isoctl(lab, "run", container, "--", "sleep", "2.5").returncode == 0  # longer than that
        lab.wait_for(lambda: state(lab, container) == "inactive", 30, "it does not stop")
        assert isoctl(lab, "run", container, "true").returncode == 0


@pytest.mark.parametrize("container", KINDS_WITH_LOGIND)
def test_a_login_inside_keeps_it(lab: Lab, container: str) -> None:
    assert isoctl(lab, "run", container, "true").returncode == 0
    lab.in_container(container, "systemd-run", "--quiet", "--unit=person", "--property=PAMName=login",
                     "--property=User=alice", "--property=Environment=XDG_SESSION_CLASS=user",
                     "sleep", "infinity")  # fmt: skip
    lab.wait_for(lambda: lab.in_container(container, "loginctl", "--no-legend").stdout.count("alice") >= 2, 20)
    before = invocation(lab, container)
    with added_policy(lab, container, "idle_stop_sec = 1"):
        until = time.monotonic() + 3.5
        while time.monotonic() < until:
            assert state(lab, container) == "active"
            time.sleep(0.2)
        assert invocation(lab, container) == before
        lab.in_container(container, "systemctl", "stop", "person")
        lab.wait_for(lambda: state(lab, container) == "inactive", 30, "it does not stop after the logout")


@pytest.mark.parametrize("container", KINDS)
@pytest.mark.parametrize("verb", ["reboot", "poweroff"])
def test_what_root_inside_does_to_it_is_seen(lab: Lab, container: str, verb: str) -> None:
    """Nspawn ends with 133 for a reboot, on which the unit starts again; a launch finds it running either way."""
    assert isoctl(lab, "run", "--detach", container, "--", "sleep", "infinity").returncode == 0
    before = invocation(lab, container)
    lab.in_container(container, "systemctl", "--no-block", verb)
    lab.wait_for(lambda: invocation(lab, container) != before or state(lab, container) != "active", 60)
    assert isoctl(lab, "run", container, "--", "sh", "-c", "exit 6", timeout_sec=90).returncode == 6
    assert invocation(lab, container) != before
    assert seen(lab, container) == "running"
    assert json.loads(isoctl(lab, "ps", "--json", container).stdout) == []


@pytest.mark.parametrize("container", ["blog", "priv", "deb"])
def test_a_launch_waits_for_the_end_of_one_that_takes_long_to_shut_down(lab: Lab, container: str) -> None:
    """F16: it failed, since the unit "is inactive", or its systemd's own words were passed on, of a transaction."""
    assert isoctl(lab, "run", container, "true").returncode == 0
    lab.in_container(container, "systemd-run", "-q", "-p", "ExecStop=sleep 5", "sleep", "infinity")
    before = invocation(lab, container)
    lab.in_container(container, "systemctl", "--no-block", "poweroff")
    for _ in range(5):
        done = isoctl(lab, "run", container, "sh", "-c", "exit 7", timeout_sec=60)
        # The first may be there before isod hears of it: nothing can be started in it any more, or its bus just ends.
        if done.returncode != 125:
            break
        assert done.stderr.startswith(f"isoctl: container {container!r} stopped: it")
        assert "destructive" not in done.stderr
        assert "holds" not in done.stderr
    assert done.returncode == 7
    assert invocation(lab, container) != before


@pytest.mark.parametrize("container", ["blog", "priv", "deb"])
def test_a_stop_that_hangs_is_shown_and_a_launch_waits_for_its_end(lab: Lab, container: str) -> None:
    """I-93: a container whose systemd does nothing any more is killed by the host's, in that one's time."""
    assert isoctl(lab, "run", container, "true").returncode == 0
    with unit_settings(lab, lab.unit(container), "TimeoutStopSec=4"):
        os.kill(lab.leader(container), signal.SIGSTOP)
        stop = lab.popen("isoctl", "stop", container, user="alice", stderr=subprocess.DEVNULL)
        lab.wait_for(lambda: state(lab, container) == "deactivating", 20)
        assert seen(lab, container) == "stopping"
        assert isoctl(lab, "run", container, "--", "sh", "-c", "exit 3", timeout_sec=60).returncode == 3
        assert stop.wait(30) in (0, 1)  # or it was there again before the end was seen
        assert seen(lab, container) == "running"


@pytest.mark.parametrize("container", ["blog", "priv", "deb"])
def test_what_a_killed_nspawn_left_behind_is_in_nobodys_way(lab: Lab, container: str) -> None:
    """The next nspawn refuses its mount at /run/systemd/nspawn/unix-export and takes it away; then one more starts."""
    assert isoctl(lab, "run", container, "true").returncode == 0
    main = int(lab.run("systemctl", "show", "-P", "MainPID", lab.unit(container)).stdout)
    assert main > 1
    lab.run("kill", "-KILL", str(main))
    lab.wait_for(lambda: state(lab, container) != "active", 20)
    done = isoctl(lab, "run", container, "true", timeout_sec=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_name_that_another_machine_has_is_told(lab: Lab) -> None:
    """Systemd issue 13766 and kin: "Machine already exists"; what is not ours is named, and not ended."""
    lab.stop_container("blog")
    lab.run("systemd-run", "--quiet", "--unit=squatter", "sleep", "infinity")
    pid = lab.run("systemctl", "show", "-P", "MainPID", "squatter").stdout.strip()
    lab.run("busctl", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1",
            "org.freedesktop.machine1.Manager", "RegisterMachine", "sayssus", "blog", "0", "test", "container", pid,
            "/")  # fmt: skip
    try:
        done = isoctl(lab, "run", "blog", "true", timeout_sec=60)
        assert done.returncode == 125
        assert "squatter.service" in done.stderr
        assert "systemctl stop squatter.service" in done.stderr
        assert lab.run("systemctl", "is-active", "squatter").stdout.strip() == "active"
    finally:
        lab.run("systemctl", "stop", "squatter")
    lab.wait_for(lambda: lab.run("machinectl", "status", "blog", check=False).returncode != 0)
    lab.run("systemctl", "reset-failed", check=False)
    assert isoctl(lab, "run", "blog", "true", timeout_sec=60).returncode == 0


def test_it_starts_when_one_of_its_users_logs_in_once(lab: Lab) -> None:
    lab.stop_container("blog")
    with added_policy(lab, "blog", "autostart = true"):
        login = Login(lab, "carol", seat=None, desktop="test")  # no user of it
        login.end()
        login = Login(lab, "alice", seat=None, desktop="test")
        try:
            lab.wait_for(lambda: state(lab, "blog") == "active", 30, "it is not started")
            assert seen(lab, "blog") in ("running", "starting")
            lab.stop_container("blog")
            lab.run("systemctl", "restart", "isod")
            assert isoctl(lab, "list").returncode == 0
            assert seen(lab, "blog") == "stopped"  # he is here since before
        finally:
            login.end()
