"""The main path on a host whose bus is dbus-broker, and in a container that has it."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from isod_contract import names
from lab.machine import Lab

MANAGER = (names.BUS_NAME, names.ROOT_PATH, names.MANAGER)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A host of its own, in the place of the one that all other tests share."""
    with Lab.boot(bus="dbus-broker") as booted:
        yield booted


def isoctl(lab: Lab, *arguments: str, user: str = "alice", **options: object) -> subprocess.CompletedProcess[str]:
    return lab.run("isoctl", *arguments, user=user, check=False, **options)


def test_the_buses_are_dbus_broker(lab: Lab) -> None:
    assert lab.run("systemctl", "show", "-P", "Id", "dbus.service").stdout == "dbus-broker.service\n"
    session = lab.run("systemctl", "--user", "show", "-P", "Id", "dbus.service", user="alice")
    assert session.stdout == "dbus-broker.service\n"
    assert lab.run("pgrep", "-x", "dbus-daemon", check=False).stdout == ""


@pytest.mark.parametrize("container", ["blog", "priv", "broker", "nologind"])
def test_commands_run_with_their_own_streams_and_codes(lab: Lab, container: str) -> None:
    done = isoctl(lab, "run", container, "sh", "-c", "uname -n; id -un; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, f"{container}\nalice\n", "err\n")
    assert isoctl(lab, "run", container, "sort", stdin=b"b\na\n").stdout == "a\nb\n"
    assert isoctl(lab, "run", container, "nosuch").returncode == 127


def test_the_container_has_dbus_broker_itself(lab: Lab) -> None:
    assert isoctl(lab, "run", "broker", "systemctl", "show", "-P", "Id", "dbus").stdout == "dbus-broker.service\n"
    # the account's session bus as well: apps inside reach it
    session = isoctl(lab, "run", "broker", "systemctl", "--user", "show", "-P", "Id", "dbus")
    assert (session.stdout, session.stderr) == ("dbus-broker.service\n", "")


def test_a_terminal(lab: Lab) -> None:
    with lab.pty("isoctl", "run", "blog", "sh", "-c", "tty; stty size; read x; echo got-$x; exit 3",
                 user="alice", rows=33, columns=99) as terminal:  # fmt: skip
        assert b"/dev/pts/" in terminal.read_until("33 99")
        terminal.send("typed\r")
        terminal.read_until("got-typed")
        assert terminal.wait() == 3


def test_history_is_the_callers_own(lab: Lab) -> None:
    isoctl(lab, "run", "blog", "echo", "noted-by-alice")
    assert "noted-by-alice" in isoctl(lab, "history", "--json").stdout
    assert "noted-by-alice" not in isoctl(lab, "history", "--json", user="bob").stdout


@pytest.mark.parametrize("how", [["systemctl", "restart", "isod"], ["systemctl", "kill", "-s", "KILL", "isod"]])
def test_isod_comes_back_and_waiting_commands_see_their_end(lab: Lab, how: list[str]) -> None:
    detached = isoctl(lab, "run", "--detach", "blog", "sleep", "4720")
    assert detached.returncode == 0
    waiting = lab.popen("isoctl", "run", "blog", "--", "sh", "-c", "sleep 2; exit 7", user="alice")
    lab.wait_for(lambda: lab.in_container("blog", "pgrep", "-f", "sleep 2; exit 7", check=False).returncode == 0)
    lab.run(*how)
    assert waiting.wait(30) == 7
    (app,) = [app for app in json.loads(isoctl(lab, "ps", "--json").stdout) if "4720" in json.dumps(app)]
    assert isoctl(lab, "kill", app["id"]).returncode == 0


def test_bob_is_refused_as_if_there_were_nothing(lab: Lab) -> None:
    yours = isoctl(lab, "run", "blog", "true", user="bob")
    nobodys = isoctl(lab, "run", "absent", "true", user="bob")
    assert (yours.returncode, yours.stdout) == (125, "")
    assert yours.stderr.replace("blog", "X") == nobodys.stderr.replace("absent", "X")
    call = ("busctl", "call", "--", names.BUS_NAME, names.container_path("blog"), names.CONTAINER)
    for member, arguments in (("Stop", ("a{sv}", "0")), ("Start", ("a{sv}", "0"))):
        assert lab.run(*call, member, *arguments, user="bob", check=False).returncode != 0
    assert isoctl(lab, "run", "blog", "true").returncode == 0


@contextmanager
def session_monitor(lab: Lab, user: str) -> Iterator[IO[bytes]]:
    """What gdbus shows of isod-session's signals on a user's session bus."""
    lab.run("busctl", "--user", "call", "--", *MANAGER, "ListContainers", user=user)
    argv = ("gdbus", "monitor", "--session", "--dest", names.BUS_NAME)
    with lab.popen(*argv, user=user, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            while b"is owned by" not in process.stdout.readline():
                pass
            yield process.stdout
        finally:
            process.signal_inner(signal.SIGKILL)


def test_the_session_bus_tells_alice_of_her_apps_and_bob_of_none(lab: Lab) -> None:
    """With dbus-broker, too, systemd's signals reach isod, and isod's only who may see what they are about."""
    with session_monitor(lab, "alice") as alices, session_monitor(lab, "bob") as bobs:
        lab.run("busctl", "--user", "call", "--", *MANAGER, "Run", "sasa{sv}", "blog", "1", "true", "0", user="alice")
        lines: list[bytes] = []
        while not lines or b".Exited" not in lines[-1]:
            lines.append(alices.readline())
            assert lines[-1]
        assert any(b".AppAdded" in line for line in lines)
        os.set_blocking(bobs.fileno(), False)
        assert b"isoctl1/app" not in (bobs.read() or b"")


def test_every_verb_says_at_once_that_isod_can_not_start(lab: Lab) -> None:
    """N10: dbus-broker said "Could not activate remote peer", and `run` that isod "went away"."""
    lab.run("systemctl", "mask", "--runtime", "--now", "isod")
    try:
        for words in (("list",), ("status", "blog"), ("run", "blog", "true")):
            done = lab.run("isoctl", *words, user="alice", check=False, timeout_sec=4)
            assert done.stderr == "isoctl: isod.service is masked; `isoctl doctor` says what to do\n"
    finally:
        lab.run("systemctl", "unmask", "--runtime", "isod")
    assert lab.run("isoctl", "run", "blog", "true", user="alice").returncode == 0
