"""`isoctl run` through restarts of isod and of the message bus: nothing is lost, nothing runs twice."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from buses import Bus, dbus_daemon
from client import Isoctl, until
from fakeisod import FakeIsod, fake_isod


@pytest.fixture
def isod(bus: Bus) -> Iterator[FakeIsod]:
    with fake_isod(bus.address) as running:
        yield running


@pytest.fixture
def isoctl(bus: Bus, isod: FakeIsod) -> Isoctl:
    return Isoctl(bus.address)


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_an_exit_while_isod_is_away_is_told(isoctl: Isoctl, isod: FakeIsod, script: str, code: int) -> None:
    process = isoctl.popen("run", "blog", "sh", "-c", f"sleep 0.3; {script}", stdin=subprocess.DEVNULL)
    until(lambda: isod.apps and isod.only_app.values["State"] == "running")
    isod.leave()
    assert isod.only_app.over.wait(5)
    assert process.poll() is None
    isod.join()
    assert process.wait(5) == code


def test_an_exit_after_isods_return_is_told(isoctl: Isoctl, isod: FakeIsod) -> None:
    process = isoctl.popen("run", "blog", "sh", "-c", "read -r x; exit 9", stdin=subprocess.PIPE)
    until(lambda: isod.apps and isod.only_app.values["State"] == "running")
    isod.leave()
    isod.only_app.followers.clear()
    isod.join()
    until(lambda: isod.count("GetAll"))
    process.communicate(b"\n", 5)
    assert process.returncode == 9


def test_more_waiting_than_isod_takes_subscribers_is_no_loss(isoctl: Isoctl, isod: FakeIsod) -> None:
    isod.refuses_subscribers = True
    process = isoctl.popen("run", "blog", "sh", "-c", "read -r x; exit 9", stdin=subprocess.PIPE)
    until(lambda: isod.apps and isod.only_app.values["State"] == "running")
    isod.leave()
    isod.only_app.followers.clear()
    isod.join()
    until(lambda: isod.count("Subscribe"))
    process.communicate(b"\n", 5)
    assert process.returncode == 9


def test_an_app_that_isod_forgot_is_an_error(isoctl: Isoctl, isod: FakeIsod) -> None:
    process = isoctl.popen("run", "blog", "sleep", "60", stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until(lambda: isod.apps and isod.only_app.values["State"] == "running")
    isod.leave()
    forgotten, isod.apps = isod.apps, {}
    isod.join()
    _, stderr = process.communicate(timeout=5)
    assert process.returncode == 125
    assert b"unknown" in stderr
    for app in forgotten.values():
        app.end()


def test_run_is_repeated_with_its_id_if_isod_died_over_it(isoctl: Isoctl, isod: FakeIsod) -> None:
    """Nothing is started twice, and no stream is lost."""
    isod.ignored = {"Run"}
    process = isoctl.popen("run", "blog", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    until(lambda: isod.count("Run") == 1)
    isod.leave()
    isod.ignored = set()
    isod.join()
    stdout, _ = process.communicate(b"data", 5)
    assert (process.returncode, stdout) == (0, b"data")
    first, second = (body[2]["id"] for member, body in isod.calls if member == "Run")
    assert first == second
    assert len(isod.apps) == 1


def test_an_isod_that_died_over_a_cold_start_is_asked_again(isoctl: Isoctl, isod: FakeIsod) -> None:
    """F15: "no longer knows the app", of one that never ran; its streams were gone by then."""
    isod.start_sec = 60
    process = isoctl.popen("run", "blog", "sh", "-c", "cat; exit 7", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    until(lambda: isod.apps and isod.only_app.values["State"] == "starting-container")
    isod.leave()
    isod.only_app.abandon()
    isod.apps, isod.start_sec = {}, 0
    isod.join()
    stdout, _ = process.communicate(b"data", 5)
    assert (process.returncode, stdout) == (7, b"data")
    first, second = (body[2]["id"] for member, body in isod.calls if member == "Run")
    assert first == second


# -- the bus comes and goes


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -TERM $$", 143)])
@pytest.mark.parametrize("ends_before", [True, False])
def test_a_restart_of_the_bus_loses_no_app_and_no_exit_code(
    tmp_path: Path, script: str, code: int, ends_before: bool
) -> None:
    """F3: all waiting `isoctl run` ended, and with them their apps."""
    gate = tmp_path / "gate"
    isod = FakeIsod(f"unix:path={tmp_path}/bus")
    with contextlib.ExitStack() as stack:
        stack.callback(isod.end)
        isoctl = Isoctl(isod.address)
        with dbus_daemon(place=tmp_path):
            isod.join()
            script = f"while ! test -e {gate}; do sleep 0.02; done; {script}"
            process = isoctl.popen("run", "blog", "sh", "-c", script, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            until(lambda: isod.apps and isod.only_app.values["State"] == "running")
        isod.leave()
        isod.only_app.followers.clear()
        time.sleep(0.7)
        assert process.poll() is None
        assert not isod.only_app.over.is_set()
        if ends_before:
            gate.touch()
            assert isod.only_app.over.wait(5)
        with dbus_daemon(place=tmp_path):
            isod.join()
            # It asks what became of the app; or once more for the launch, if the bus went before it had the answer.
            until(lambda: isod.count("GetAll") or isod.count("Run") > 1)
            gate.touch()
            assert (process.communicate(timeout=10)[1], process.returncode) == (b"", code)
            isod.leave()


def test_a_bus_that_goes_over_a_launch_leads_to_one_launch(tmp_path: Path) -> None:
    """F3: with the same id, so that nothing runs twice."""
    isod = FakeIsod(f"unix:path={tmp_path}/bus")
    isod.start_sec = 1.0
    with contextlib.ExitStack() as stack:
        stack.callback(isod.end)
        with dbus_daemon(place=tmp_path):
            isod.join()
            command = ("run", "blog", "sh", "-c", f"echo x >> {tmp_path}/ran; exit 3")
            process = Isoctl(isod.address).popen(*command, stdin=subprocess.DEVNULL)
            until(lambda: isod.apps)
        isod.leave()
        with dbus_daemon(place=tmp_path):
            isod.join()
            assert process.wait(10) == 3
            isod.leave()
    assert (tmp_path / "ran").read_text() == "x\n"


def test_a_signal_while_isod_is_away_leaves(isoctl: Isoctl, isod: FakeIsod) -> None:
    process = isoctl.popen("run", "blog", "sleep", "60", stdin=subprocess.DEVNULL)
    until(lambda: isod.apps and isod.only_app.values["State"] == "running")
    isod.leave()
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 143
    assert isod.only_app.over.wait(5)  # its lifetime pipe closed
