"""What running apps and waiting callers notice when isod, isod-session or the keeper of a session go and come back."""

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from isod_contract import names
from lab.apps import apps, run_app, wait_for_state
from lab.machine import Lab

ISOD = "isod.service"
ENDINGS = {"exit 0": 0, "exit 7": 7, "kill -TERM $$": 143, "kill -KILL $$": 137}
MOMENTS = ("before", "during", "after")


class Waiting:
    """An `isoctl run` that waits for an app, which ends when it is told to."""

    def __init__(self, lab: Lab, container: str, ending: str) -> None:
        lab.start(container)
        self.lab = lab
        self.container = container
        self.marker = f"waiting-{secrets.token_hex(6)}"
        script = f": {self.marker}; until [ -e /tmp/{self.marker} ]; do sleep 0.05; done; {ending}"
        pipe = subprocess.PIPE
        self.process = lab.popen(
            "isoctl", "run", "--no-login-shell", container, "--", "sh", "-c", script, user="alice", stderr=pipe
        )

    @property
    def is_running(self) -> bool:
        """Whether the app's main process is there, whatever isod knows."""
        return self.lab.in_container(self.container, "pgrep", "-f", f": {self.marker}", check=False).returncode == 0

    def end(self) -> None:
        """Have the app end, and wait until it has."""
        self.lab.in_container(self.container, "touch", f"/tmp/{self.marker}")
        self.lab.wait_for(lambda: not self.is_running)

    def result(self) -> tuple[int, str]:
        """Give exit code and stderr of the `isoctl run`."""
        _, stderr = self.process.communicate(timeout=40)
        return self.process.returncode, stderr.decode()


@pytest.fixture
def waiting(lab: Lab) -> Iterator[Callable[..., Waiting]]:
    """Make `isoctl run`s that are waiting for running apps."""
    with ExitStack() as stack:

        def make(container: str, ending: str = "exit 0") -> Waiting:
            made = Waiting(lab, container, ending)
            stack.enter_context(made.process)
            stack.callback(made.process.signal_inner, signal.SIGKILL)
            return made

        yield make


def freeze(lab: Lab) -> None:
    lab.run("systemctl", "kill", "--signal=STOP", ISOD)
    pid = lab.run("systemctl", "show", "-P", "MainPID", ISOD).stdout.strip()
    lab.wait_for(lambda: "T (stopped)" in lab.run("grep", "State", f"/proc/{pid}/status").stdout)


def take_down(lab: Lab, how: str) -> None:
    """End isod, and keep it from coming back until it is started."""
    if how == "kill -9":
        lab.run("systemctl", "kill", "--signal=KILL", ISOD)
    lab.run("systemctl", "stop", ISOD)
    assert lab.run("systemctl", "is-active", ISOD, check=False).stdout.strip() in ("inactive", "failed")


def ps(lab: Lab, user: str = "alice") -> str:
    return lab.run("isoctl", "ps", "--json", user=user).stdout


@pytest.mark.parametrize("how", ["restart", "kill -9"])
def test_exit_codes_reach_a_waiting_isoctl_whenever_the_app_ends(
    lab: Lab, waiting: Callable[..., Waiting], how: str
) -> None:
    """R01: systemd inside keeps each code until isod has read it; 4 endings at 3 moments, "before" as isod hangs."""
    runs = {(moment, ending): waiting("blog", ending) for moment in MOMENTS for ending in ENDINGS}
    lab.wait_for(lambda: all(run.is_running for run in runs.values()), 30)
    lab.wait_for(lambda: all(run.marker in ps(lab) for run in runs.values()), 30)
    shown = {moment: [run for (when, _), run in runs.items() if when == moment] for moment in MOMENTS}
    freeze(lab)
    for run in shown["before"]:
        run.end()
    take_down(lab, how)
    for run in shown["during"]:
        run.end()
    lab.run("systemctl", "start", ISOD)
    listed = json.loads(ps(lab))
    running = [run.marker in json.dumps([app for app in listed if app["state"] == "running"]) for run in shown["after"]]
    assert running == [True] * len(ENDINGS)
    for run in shown["after"]:
        run.end()
    results = {key: run.result()[0] for key, run in runs.items()}
    assert results == {(moment, ending): code for moment in MOMENTS for ending, code in ENDINGS.items()}


@pytest.mark.parametrize("how", ["stop", "restart", "crash"])
@pytest.mark.parametrize("isod_is", ["up", "down"])
def test_an_exit_code_that_nobody_knows_is_not_zero(
    lab: Lab, waiting: Callable[..., Waiting], isod_is: str, how: str
) -> None:
    """R01: the unit went with its container; "0" is what systemd answers of a unit that it does not know."""
    run = waiting("net")
    lab.wait_for(lambda: run.is_running, 30)
    lab.wait_for(lambda: run.marker in ps(lab))
    if isod_is == "down":
        take_down(lab, "restart")
    if how == "crash":
        # Its PID 1, not nspawn, which would leave a mount behind that the next start stumbles over.
        os.kill(lab.leader("net"), signal.SIGKILL)
        lab.wait_for(lambda: lab.run("systemctl", "is-active", lab.unit("net"), check=False).stdout == "failed\n")
    else:
        lab.run("systemctl", how, lab.unit("net"))
    if isod_is == "down":
        lab.run("systemctl", "start", ISOD)
    code, stderr = run.result()
    # Stopping the container ends the app by SIGTERM and SIGHUP at once, which isod may still learn; after that nobody
    # knows.
    assert code == 125 or (isod_is == "up" and code in (143, 129, 137)), stderr
    if code == 125:
        assert "net" in stderr
        assert "not known" in stderr
    lab.wait_for(lambda: run.marker not in ps(lab))


@pytest.mark.parametrize("how", ["restart", "kill -9"])
def test_a_detached_app_lives_through_it_and_can_be_ended(lab: Lab, how: str) -> None:
    path = run_app(lab, "alice", "blog", "sleep", "4810")
    wait_for_state(lab, "alice", path, "running")
    take_down(lab, how)
    lab.run("systemctl", "start", ISOD)
    assert apps(lab, "alice")[path]["State"] == "running"
    app_id = path.rsplit("/", 1)[1]
    assert app_id in ps(lab)
    lab.run("isoctl", "kill", app_id, user="alice")
    wait_for_state(lab, "alice", path, "exited")
    assert apps(lab, "alice")[path]["ExitSignal"] == signal.SIGTERM


def test_a_caller_who_leaves_while_isod_is_down_ends_his_app(lab: Lab, waiting: Callable[..., Waiting]) -> None:
    """The lifetime pipe lies in the FD store: that it hung up is seen by the next isod."""
    run = waiting("blog")
    lab.wait_for(lambda: run.is_running, 30)
    lab.wait_for(lambda: run.marker in ps(lab))
    take_down(lab, "kill -9")
    run.process.signal_inner(signal.SIGKILL)
    run.process.wait(10)
    assert run.is_running
    lab.run("systemctl", "start", ISOD)
    lab.wait_for(lambda: not run.is_running)
    lab.wait_for(lambda: run.marker not in ps(lab))


def test_the_containers_own_bus_goes_and_comes_back(lab: Lab, waiting: Callable[..., Waiting]) -> None:
    """Losing the connection says nothing about the apps: they are followed again, with their exit codes."""
    run = waiting("net", "exit 7")
    lab.wait_for(lambda: run.is_running, 30)
    lab.wait_for(lambda: run.marker in ps(lab))
    lab.in_container("net", "systemctl", "kill", "--signal=KILL", "dbus.service")
    lab.wait_for(lambda: lab.in_container("net", "systemctl", "is-active", "dbus.service", check=False).returncode == 0)
    assert lab.run("isoctl", "run", "net", "true", user="alice").returncode == 0
    assert run.marker in ps(lab)
    run.end()
    assert run.result() == (7, "")
    lab.stop_container("net")


@pytest.mark.parametrize("how", ["restart", "kill -9"])
def test_apps_in_a_container_of_each_user_live_through_it(lab: Lab, how: str) -> None:
    """`unit` with %u: which containers there are, only the records of their apps tell the next isod."""
    lab.run(
        "sh", "-c", "test -d /var/lib/machines/own-alice || cp -a /var/lib/machines/evil /var/lib/machines/own-alice"
    )
    settings = lab.host_path("/etc/systemd/nspawn/own-alice.nspawn")
    settings.write_text(lab.host_path("/etc/systemd/nspawn/evil.nspawn").read_text())
    policy = lab.host_path("/etc/isod/containers/own.toml")
    policy.write_text('users = ["alice", "carol"]\nunit = "container@own-%u.service"\n')
    try:
        lab.run("isoctl", "reload")
        path = run_app(lab, "alice", "own", "sleep", "4813")
        wait_for_state(lab, "alice", path, "running")
        take_down(lab, how)
        lab.run("systemctl", "start", ISOD)
        assert apps(lab, "alice")[path]["State"] == "running"
        lab.run("isoctl", "kill", path.rsplit("/", 1)[1], user="alice")
        wait_for_state(lab, "alice", path, "exited")
        assert apps(lab, "alice")[path]["ExitSignal"] == signal.SIGTERM
    finally:
        policy.unlink()
        lab.run("isoctl", "reload")
        lab.stop_container("own-alice")
        settings.unlink()


# -- isod-session


def session_pid(lab: Lab) -> str:
    return lab.run("systemctl", "--user", "show", "-P", "MainPID", "isod-session", user="alice").stdout.strip()


def registered(lab: Lab) -> bool:
    """Whether isod was told of alice's session by the isod-session that runs now."""
    flag = lab.host_path("/run/user/1000/isoctl/session-registered")
    return flag.exists() and flag.read_text().split()[0] == session_pid(lab)


def test_isod_session_that_crashes_again_and_again_is_not_gone_for_the_login(lab: Lab) -> None:
    """F5: after six ends in ten seconds it stayed away until the next login, in silence."""
    lab.run("isoctl", "run", "blog", "true", user="alice", env={"WAYLAND_DISPLAY": "wayland-7"})
    began, seen = time.monotonic(), set()
    while len(seen) < 8:
        lab.wait_for(lambda: session_pid(lab) not in seen | {"0"}, 10, "it does not come back")
        seen.add(session_pid(lab))
        lab.run("systemctl", "--user", "kill", "-s", "KILL", "isod-session", user="alice")
        # also by whoever calls it meanwhile, as isoctl does
        call = ("busctl", "--user", "--timeout=1", "call", names.BUS_NAME, names.ROOT_PATH, names.MANAGER, "ListApps")
        lab.run(*call, user="alice", check=False)
    assert time.monotonic() - began < 40
    lab.wait_for(lambda: registered(lab), 10)


def theme_inside(lab: Lab) -> str:
    """What a new app is told of the session's environment."""
    return lab.run("isoctl", "run", "blog", "sh", "-c", "echo $XCURSOR_THEME", user="alice").stdout.strip()


@pytest.mark.parametrize("how", ["restart", "kill -9"])
def test_isod_session_goes_and_nothing_ends(lab: Lab, waiting: Callable[..., Waiting], how: str) -> None:
    theme = f"theme-{secrets.token_hex(4)}"
    lab.run("systemctl", "--user", "set-environment", f"XCURSOR_THEME={theme}", user="alice")
    path = run_app(lab, "alice", "blog", "sleep", "4811", bus="--user")
    run = waiting("blog", "exit 7")
    lab.wait_for(lambda: run.is_running, 30)
    lab.wait_for(lambda: registered(lab))
    before = session_pid(lab)
    lab.run("systemctl", "--user", *SESSION_ENDS[how], "isod-session", user="alice")
    lab.wait_for(lambda: lab.run("kill", "-0", str(before), check=False).returncode != 0)
    # Forwarding works at once: D-Bus starts the service for the first call.
    assert apps(lab, "alice", bus="--user")[path]["State"] == "running"
    lab.wait_for(lambda: registered(lab))
    assert session_pid(lab) != before
    assert theme_inside(lab) == theme
    second = run_app(lab, "alice", "blog", "sleep", "4812", bus="--user")
    wait_for_state(lab, "alice", second, "running")
    assert run.is_running
    run.end()
    assert run.result()[0] == 7
    assert apps(lab, "alice")[path]["State"] == "running"


SESSION_ENDS = {"restart": ["restart"], "kill -9": ["kill", "--signal=KILL"]}


@pytest.mark.parametrize("how", ["restart", "kill -9"])
def test_isod_session_makes_itself_known_to_the_next_isod(lab: Lab, how: str) -> None:
    theme = f"theme-{secrets.token_hex(4)}"
    lab.run("systemctl", "--user", "set-environment", f"XCURSOR_THEME={theme}", user="alice")
    run_app(lab, "alice", "blog", "true", bus="--user")
    assert theme_inside(lab) == theme
    before = session_pid(lab)
    seen = len(sessions_of_alice(lab))
    take_down(lab, how)
    lab.run("systemctl", "start", ISOD)
    lab.wait_for(lambda: len(sessions_of_alice(lab)) > seen)
    assert session_pid(lab) == before
    assert theme_inside(lab) == theme


def sessions_of_alice(lab: Lab) -> list[dict[str, Any]]:
    return lab.journal(unit=ISOD, ISOCTL_KIND="session", ISOCTL_UID="1000", ISOCTL_OUTCOME="registered")


# -- the keeper


def test_an_app_that_ends_the_keepers_session_harms_no_later_launch(lab: Lab, waiting: Callable[..., Waiting]) -> None:
    """Design 8: logind lets a user end his own sessions; the runtime directory and the bus must be there again."""
    run = waiting("blog", "exit 7")
    lab.wait_for(lambda: run.is_running, 30)
    script = "loginctl --no-legend list-sessions | while read -r id _; do loginctl terminate-session $id; done"
    check = 'test "$(stat -c %a-%U $XDG_RUNTIME_DIR)" = 700-alice && busctl --user list >/dev/null && echo right'
    for _ in range(5):
        ended = lab.run("isoctl", "run", "blog", "--", "sh", "-c", script, user="alice")
        assert ended.stderr == ""
        assert lab.run("isoctl", "run", "blog", "--", "sh", "-c", check, user="alice").stdout == "right\n"
    assert run.is_running
    run.end()
    assert run.result()[0] == 7


@pytest.mark.attack("C12")
def test_restarts_of_a_container_leave_no_descriptor_in_isod(lab: Lab) -> None:
    """The connection to the container's bus is lost before its unit is known to have stopped."""

    def held() -> int:
        pid = lab.run("systemctl", "show", "-P", "MainPID", ISOD).stdout.strip()
        return len(os.listdir(lab.host_path(f"/proc/{pid}/fd")))

    lab.run("isoctl", "run", "blog", "true", user="alice")
    before = held()
    for _ in range(5):
        lab.run("systemctl", "restart", lab.unit("blog"))
        lab.run("isoctl", "run", "blog", "true", user="alice")
    # one of the last launch may still be on its way out
    lab.wait_for(lambda: held() <= before + 2, what=f"{before} before, {held()} now")
