"""What a user is told on the desktop who started something from a key binding and looks at no terminal."""

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from buses import Bus, dbus_daemon
from client import Isoctl
from fakeisod import FakeIsod, fake_isod
from notifications import Notifications, notifications

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def isod(bus: Bus) -> Iterator[FakeIsod]:
    with fake_isod(bus.address) as running:
        yield running


@pytest.fixture
def session() -> Iterator[Bus]:
    with dbus_daemon() as running:
        yield running


@pytest.fixture
def desktop(session: Bus) -> Iterator[Notifications]:
    with notifications(session.address) as running:
        yield running


@pytest.fixture
def run(bus: Bus, isod: FakeIsod, session: Bus) -> Run:
    """Give what runs isoctl as a key binding does: with a display, and no terminal anywhere."""
    environment = {"WAYLAND_DISPLAY": "wayland-1", "DBUS_SESSION_BUS_ADDRESS": session.address}

    def start(*arguments: str, **more: str) -> subprocess.CompletedProcess[bytes]:
        return Isoctl(bus.address).run(*arguments, environment={**environment, **more}, start_new_session=True)

    return start


def test_what_works_at_once_shows_nothing(run: Run, desktop: Notifications) -> None:
    assert run("run", "blog", "true").returncode == 0
    assert run("run", "blog", "false").returncode == 1
    assert desktop.shown == []


def test_a_slow_start_is_shown_once_and_goes_when_it_succeeded(
    run: Run, isod: FakeIsod, desktop: Notifications
) -> None:
    isod.start_sec = 1.6
    assert run("run", "blog", "true").returncode == 0
    assert desktop.shown == [("blog", "starting container blog")]
    assert desktop.visible == {}


def test_a_slow_start_in_many_steps_pops_up_once(run: Run, isod: FakeIsod, desktop: Notifications) -> None:
    isod.start_sec = 1.3
    real = isod.tell

    def tell(app: Any, values: dict[str, Any], *, exited: bool = False) -> None:
        real(app, values, exited=exited)
        if values.get("State") == "starting":
            for state in ("preparing", "starting", "preparing", "starting"):
                real(app, {"State": state})

    isod.tell = tell  # type: ignore[method-assign]
    assert run("run", "blog", "true").returncode == 0
    assert len(desktop.shown) == 1
    assert desktop.visible == {}


@pytest.mark.parametrize("start_sec", [0.0, 1.3], ids=["at once", "after a slow start"])
def test_a_failure_leaves_one_visible_notification(
    run: Run, isod: FakeIsod, desktop: Notifications, start_sec: float
) -> None:
    isod.start_sec = start_sec
    isod.start_error = ("org.isoctl1.Error.StartFailed", "container 'blog' did not start: <b>\x1b[31m&")
    assert run("run", "blog", "foot").returncode == 125
    text = "foot did not start: container 'blog' did not start: &lt;b&gt;\\x1b[31m&amp;"
    assert list(desktop.visible.values()) == [("blog", text)]
    assert desktop.shown[-1:] == list(desktop.visible.values())
    assert len(desktop.shown) == (2 if start_sec else 1)


def test_a_refusal_leaves_one_visible_notification(run: Run, isod: FakeIsod, desktop: Notifications) -> None:
    isod.run_error = ("org.isoctl1.Error.NotPermitted", "not permitted: ask your administrator")
    assert run("run", "blog", "foot").returncode == 125
    assert list(desktop.visible.values()) == [("blog", "foot did not start: not permitted: ask your administrator")]
    assert len(desktop.shown) == 1


def test_an_isod_that_does_not_run_is_told(run: Run, isod: FakeIsod, desktop: Notifications) -> None:
    isod.leave()
    assert run("run", "blog", "foot").returncode == 125
    ((_, text),) = desktop.visible.values()
    assert "systemctl start isod" in text


def test_a_command_that_is_not_there_is_told(run: Run, isod: FakeIsod, desktop: Notifications) -> None:
    assert run("run", "blog", "sh", "-c", "exit 127").returncode == 127
    assert list(desktop.visible.values()) == [("blog", "sh: not found in container blog")]


def test_an_app_without_its_display_is_told_while_it_goes_on(run: Run, isod: FakeIsod, desktop: Notifications) -> None:
    isod.warning = ("org.isoctl1.Error.NoSession", "no live session of uid 1000: no Wayland compositor answers")
    assert run("run", "blog", "sh", "-c", "sleep 0.3").returncode == 0
    assert list(desktop.visible.values()) == [("blog", isod.warning[1])]
    assert len(desktop.shown) == 1


def test_a_warning_during_a_slow_start_is_not_replaced_by_a_later_state(
    run: Run, isod: FakeIsod, desktop: Notifications
) -> None:
    isod.start_sec = 1.3
    real = isod.tell
    problem = ("org.isoctl1.Error.NoSession", "no live session of uid 1000: it has left")

    def tell(app: Any, values: dict[str, Any], *, exited: bool = False) -> None:
        real(app, values, exited=exited)
        if values.get("State") == "starting":
            isod.warning = problem
            for changed in ({"Problem": problem}, {"State": "preparing"}, {"State": "starting"}):
                real(app, changed)
                time.sleep(0.1)

    isod.tell = tell  # type: ignore[method-assign]
    assert run("run", "blog", "true").returncode == 0
    assert list(desktop.visible.values()) == [("blog", problem[1])]


def test_quiet_shows_nothing(run: Run, isod: FakeIsod, desktop: Notifications) -> None:
    isod.start_sec = 1.3
    isod.start_error = ("org.isoctl1.Error.StartFailed", "no")
    assert run("run", "-q", "blog", "foot").returncode == 125
    assert desktop.shown == []


@pytest.mark.parametrize("variable", ["WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"])
def test_without_a_desktop_nothing_is_tried(run: Run, isod: FakeIsod, desktop: Notifications, variable: str) -> None:
    """From ssh or cron."""
    isod.run_error = ("org.isoctl1.Error.NotPermitted", "not permitted")
    assert run("run", "blog", "foot", **{variable: ""}).stderr == b"isoctl: not permitted\n"
    assert desktop.shown == []


@pytest.mark.parametrize("trouble", ["none", "silent", "garbage", "no bus"])
def test_a_notification_that_can_not_be_shown_changes_nothing(
    run: Run, isod: FakeIsod, session: Bus, trouble: str
) -> None:
    isod.run_error = ("org.isoctl1.Error.NotPermitted", "not permitted")
    expected = (125, b"isoctl: not permitted\n")
    if trouble in ("none", "no bus"):
        more = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nosuch"} if trouble == "no bus" else {}
        done = run("run", "blog", "foot", **more)
        assert (done.returncode, done.stderr) == expected
        return
    with notifications(session.address) as desktop:
        desktop.answers, desktop.reply = trouble != "silent", ("s", "x")
        done = run("run", "blog", "foot")
    assert (done.returncode, done.stderr) == expected
