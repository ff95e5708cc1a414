"""A container that does not answer any more: everything that is not about it works as if it were not there."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lab.apps import apps, run_app, wait_for_state
from lab.changes import kept
from lab.machine import Lab
from lab.policies import added_policy

PIPE = subprocess.PIPE
# Less than one deadline of isod's for a container (5 s): whoever waits for the hung one is seen.
MOST_SEC = 4.0
# A container that stops and boots takes that by itself, beside other labs.
LIVES, MOST_OF_LIVES_SEC = ("stop", "start", "restart"), 15.0


@contextmanager
def bus_stopped(lab: Lab) -> Iterator[None]:
    """Its bus keeps its connections and reads nothing more."""
    lab.in_container("evil", "pkill", "-STOP", "-x", "dbus-daemon")
    try:
        yield
    finally:
        lab.in_container("evil", "pkill", "-CONT", "-x", "dbus-daemon")


@contextmanager
def systemd_frozen(lab: Lab) -> Iterator[None]:
    """Its PID 1 does nothing more."""
    leader = lab.leader("evil")
    os.kill(leader, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(leader, signal.SIGCONT)


HANGING = {"bus stopped": bus_stopped, "PID 1 frozen": systemd_frozen}

OPERATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "list": ("alice", ("isoctl", "list")),
    "ps": ("alice", ("isoctl", "ps")),
    "ps of root": ("root", ("isoctl", "ps")),
    "status": ("alice", ("isoctl", "status", "blog")),
    "doctor": ("alice", ("isoctl", "doctor", "blog", "--json")),
    "history": ("alice", ("isoctl", "history")),
    "logs": ("alice", ("isoctl", "logs", "blog")),
    "why": ("alice", ("isoctl", "why", "blog", "run")),
    "run": ("alice", ("isoctl", "run", "blog", "true")),
    "run of another user": ("bob", ("isoctl", "run", "bobs", "true")),
    "reload": ("root", ("isoctl", "reload")),
    "stop": ("alice", ("isoctl", "stop", "net")),
    "start": ("alice", ("isoctl", "start", "net")),
    "restart": ("alice", ("isoctl", "restart", "net")),
}


@pytest.fixture(params=HANGING)
def hung(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Callable[[], object]]:
    """A lab whose container evil hangs, with an app of alice's in it; gives what lets it go on."""
    for user, container in (("alice", "evil"), ("alice", "blog"), ("alice", "net"), ("bob", "bobs")):
        lab.run("isoctl", "run", container, "true", user=user)
    hers = run_app(lab, "alice", "evil", "sleep", "4911")
    wait_for_state(lab, "alice", hers, "running")
    manager = HANGING[request.param](lab)
    manager.__enter__()
    ended = False

    def go_on() -> None:
        nonlocal ended
        if not ended:
            ended = True
            manager.__exit__(None, None, None)

    try:
        yield go_on
    finally:
        go_on()
        lab.run("isoctl", "kill", "--signal=KILL", hers.rsplit("/", 1)[1], user="alice", check=False)
        lab.wait_for(lambda: not apps(lab, "alice")[hers]["Running"], 30)


@pytest.mark.attack("C55")
def test_a5_a6_hung_neighbour_what_is_not_about_it_answers(lab: Lab, hung: Callable[[], object]) -> None:
    """A5, A6, B1, B2: also while somebody asks about the hung one without end."""
    asking = [
        lab.popen("isoctl", "doctor", "evil", user=user, stdout=PIPE, stderr=PIPE) for user in ["alice"] * 8 + ["root"]
    ] + [lab.popen("isoctl", "run", "evil", "true", user="alice", stdout=PIPE, stderr=PIPE) for _ in range(20)]
    late = {}
    try:
        for name, (user, argv) in OPERATIONS.items():
            began_sec = time.monotonic()
            done = lab.run(*argv, user=user, check=False)
            took_sec = time.monotonic() - began_sec
            most_sec = MOST_OF_LIVES_SEC if name in LIVES else MOST_SEC
            if took_sec > most_sec or (done.returncode and name != "doctor"):
                late[name] = f"{took_sec:.1f} s, {done.returncode}: {done.stderr}"
    finally:
        for process in asking:
            with process:
                process.communicate(timeout=60)
    assert late == {}


@pytest.mark.attack("C55")
def test_a5_hung_neighbour_is_told_beside_the_others(lab: Lab, hung: Callable[[], object]) -> None:
    """A5: `isoctl top` was an error for everybody who may see a container that is frozen; so was its doctor (A6)."""
    app = run_app(lab, "alice", "blog", "sleep", "4912")
    wait_for_state(lab, "alice", app, "running")
    for user in ("alice", "root"):
        top = lab.run("isoctl", "top", "--json", "--once", user=user, check=False)
        assert top.returncode == 1
        assert "no numbers of evil" in top.stderr
        assert app.rsplit("/", 1)[1] in {row["app"] for row in json.loads(top.stdout)}
    for container, is_silent in (("evil", True), ("blog", False)):
        doctor = lab.run("isoctl", "doctor", container, "--json", user="alice", check=False)
        assert ("container-silent" in {item["code"] for item in json.loads(doctor.stdout)["findings"]}) is is_silent
    lab.run("isoctl", "kill", app.rsplit("/", 1)[1], user="alice")


@pytest.mark.attack("C55")
def test_a5_hung_neighbour_keeps_no_withdrawn_app_alive(lab: Lab, hung: Callable[[], object]) -> None:
    """A5, B1, F4: who is withdrawn from it and from others loses the others' apps now, and its own when it answers."""
    shared, evil = (f"/etc/isod/containers/{name}.toml" for name in ("shared", "evil"))
    elsewhere = run_app(lab, "carol", "shared", "sleep", "4913")
    wait_for_state(lab, "carol", elsewhere, "running")
    (inside,) = (path for path, app in apps(lab, "alice").items() if app["Container"] == "evil" and app["Running"])
    records = len(lab.journal(unit="isod.service", ISOCTL_KIND="policy"))
    with kept(lab, shared, evil):
        lab.host_path(shared).write_text('users = ["alice"]\n')
        lab.host_path(evil).write_text('users = ["carol"]\n')
        began_sec = time.monotonic()
        done = lab.run("isoctl", "reload", "--json")
        assert time.monotonic() - began_sec < MOST_SEC
        told = {change["app"]: change["change"] for change in json.loads(done.stdout) if "app" in change}
        assert "as soon as container evil answers" in told[inside.rsplit("/", 1)[1]]
        assert "as soon as" not in told[elsewhere.rsplit("/", 1)[1]]
        wait_for_state(lab, "carol", elsewhere, "exited")
        assert len(lab.journal(unit="isod.service", ISOCTL_KIND="policy")) == records + 1
        # Also when isod was restarted before the container answered.
        lab.run("systemctl", "restart", "isod.service")
        hung()
        lab.wait_for(lambda: not apps(lab, "alice")[inside]["Running"], 30, "the app in the hung container lives on")
    lab.run("isoctl", "reload")


@pytest.mark.attack("C55")
def test_a5_hung_neighbour_does_not_keep_others_from_stopping_when_idle(lab: Lab, hung: Callable[[], object]) -> None:
    with added_policy(lab, "evil", "idle_stop_sec = 1"), added_policy(lab, "net", "idle_stop_sec = 1"):
        lab.run("isoctl", "run", "net", "true", user="alice")
        lab.wait_for(
            lambda: "inactive" in lab.run("systemctl", "is-active", "container@net.service", check=False).stdout, 20
        )


@pytest.mark.attack("C55")
def test_f14_hung_neighbour_does_not_hold_the_pipe_of_a_launch_into_it(lab: Lab, hung: Callable[[], object]) -> None:
    """F14: `isoctl run evil true | cat` did not end with isoctl: the pipe lay in the frozen container's bus."""
    script = "isoctl run evil true | cat; exit ${PIPESTATUS[0]}"
    done = lab.run("bash", "-c", script, user="alice", check=False, timeout_sec=30)
    assert done.returncode == 125
    assert "does not answer" in done.stderr
