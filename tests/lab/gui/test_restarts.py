"""Windows from containers go on working when the compositor, isod, isod-session or the login comes and goes."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.compositors import Sway
from lab.contained import Contained, interfaces, mounts, policy, show
from lab.machine import Lab
from lab.programs import FOOT, GTK4, wait_typed

RESTARTS = [10, pytest.param(50, marks=pytest.mark.gui_full)]
CONTAINERS = ["blog", "plain", "priv"]


def _invocation(lab: Lab, container: str) -> str:
    return lab.run("systemctl", "show", "-P", "InvocationID", lab.unit(container)).stdout


def _is_active(lab: Lab, container: str) -> bool:
    return lab.run("systemctl", "is-active", lab.unit(container), check=False).stdout == "active\n"


def _no_stacks_and_no_leftovers(lab: Lab, container: str) -> None:
    found = mounts(lab, container)
    # One layer each, or the three of a locked mount (isod_helper.locked): more would be one mount over another.
    layers = 3 if container == "priv" else 1
    assert set(Counter(destination for destination, _ in found).values()) <= {layers}
    assert not [source for _, source in found if source.endswith("//deleted")]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("times", RESTARTS)
def test_every_launch_works_after_the_compositor_was_killed(
    lab: Lab, clean_desk: Sway, container: str, times: int
) -> None:
    show(clean_desk, container, FOOT, "before").end()
    invocation, count = _invocation(lab, container), len(mounts(lab, container))
    for number in range(times):
        clean_desk.restart()
        show(clean_desk, container, FOOT, f"after {number}").end()
        _no_stacks_and_no_leftovers(lab, container)
    assert len(mounts(lab, container)) == count
    assert _invocation(lab, container) == invocation


def test_a_client_that_waits_for_the_compositor_appears_when_it_is_back(clean_desk: Sway) -> None:
    show(clean_desk, "blog", FOOT, "before").end()
    clean_desk.kill()
    app = Contained(clean_desk, "blog", *FOOT.command("waited"))
    clean_desk.lab.wait_for(lambda: "foot" in clean_desk.run("isoctl", "ps").stdout, what="not started")
    clean_desk.start()
    app.window(title="waited")
    app.end()


def test_the_new_compositor_restricts_as_the_old_one_did(clean_desk: Sway) -> None:
    before = interfaces(clean_desk, "blog")
    clean_desk.restart()
    assert interfaces(clean_desk, "blog") == before


@contextmanager
def two_windows(lab: Lab, desk: Sway) -> Iterator[None]:
    """While foot and a GTK program run; afterwards both are still there, and take text."""
    apps = [show(desk, "blog", program, program.name) for program in (FOOT, GTK4)]
    before = [(window.id, window.title, window.pid) for window in desk.windows()]
    yield
    assert [(window.id, window.title, window.pid) for window in desk.windows()] == before
    show(desk, "blog", FOOT, "a third").end()
    desk.wait_no_window(title="a third")
    assert [(window.id, window.title, window.pid) for window in desk.windows()] == before
    desk.command(desk.find(title="foot")[0], "focus")
    desk.type("still typing\n")
    assert wait_typed(lab, "blog") == "still typing"
    for app in apps:
        app.end()


@pytest.mark.parametrize(
    "how",
    [("restart", "isod"), ("kill", "-s", "KILL", "isod"), ("stop", "isod")],
    ids=["restart", "kill", "stop"],
)
def test_no_window_closes_when_isod_restarts(lab: Lab, clean_desk: Sway, how: tuple[str, ...]) -> None:
    with two_windows(lab, clean_desk):
        lab.run("systemctl", *how)
        lab.run("systemctl", "start", "isod")


@pytest.mark.parametrize("how", [("restart",), ("kill", "-s", "KILL"), ("stop",)], ids=["restart", "kill", "stop"])
def test_no_window_closes_when_isod_session_restarts(lab: Lab, clean_desk: Sway, how: tuple[str, ...]) -> None:
    """Also: one that was stopped is activated by the next launch."""
    with two_windows(lab, clean_desk):
        lab.run("systemctl", "--user", *how, "isod-session", user="alice")


def test_isod_and_the_compositor_restart_in_either_order(lab: Lab, clean_desk: Sway) -> None:
    for steps in ("ic", "ci", "iic", "cic"):
        for step in steps:
            if step == "i":
                lab.run("systemctl", "restart", "isod")
            else:
                clean_desk.restart()
        show(clean_desk, "blog", FOOT, f"after {steps}").end()
        _no_stacks_and_no_leftovers(lab, "blog")


def test_the_container_restarts_while_the_compositor_stays(lab: Lab, clean_desk: Sway) -> None:
    for _ in range(3):
        show(clean_desk, "blog", FOOT, "again").end()
        lab.run("systemctl", "restart", lab.unit("blog"))
    _no_stacks_and_no_leftovers(lab, "blog")


def test_a_new_login_works_and_nothing_of_the_old_is_left(lab: Lab, clean_desk: Sway) -> None:
    """No linger: the user's manager, his bus and /run/user/1000 go with the last session and come back new."""
    show(clean_desk, "blog", FOOT, "first login").end()
    show(clean_desk, "plain", FOOT, "first login").end()
    invocations = [_invocation(lab, container) for container in ("blog", "plain")]
    lab.run("loginctl", "disable-linger", "alice")
    try:
        clean_desk.log_out()
        lab.wait_for(lambda: not lab.host_path("/run/user/1000").exists(), 30, "alice's manager stays")
        for container in ("blog", "plain"):
            _no_stacks_and_no_leftovers(lab, container)
        clean_desk.log_in()
        show(clean_desk, "blog", FOOT, "second login").end()
        show(clean_desk, "plain", FOOT, "second login").end()
        for container in ("blog", "plain"):
            _no_stacks_and_no_leftovers(lab, container)
        assert [_invocation(lab, container) for container in ("blog", "plain")] == invocations
    finally:
        lab.run("loginctl", "enable-linger", "alice")


def test_a_container_stops_with_its_last_users_desktop_where_policy_says_so(lab: Lab, clean_desk: Sway) -> None:
    """And stays while isod-session alone ends, and where policy says nothing."""
    show(clean_desk, "shared", FOOT, "stays").end()
    with policy(lab, "blog", 'on_logout = "stop"'):
        show(clean_desk, "blog", FOOT, "until logout").end()
        lab.run("systemctl", "--user", "-M", "alice@", "stop", "isod-session.service")
        show(clean_desk, "blog", FOOT, "after the service was stopped").end()
        lab.run("loginctl", "disable-linger", "alice")
        try:
            clean_desk.log_out()
            lab.wait_for(lambda: not _is_active(lab, "blog"), 40, "blog still runs")
            assert _is_active(lab, "shared")
            clean_desk.log_in()
        finally:
            lab.run("loginctl", "enable-linger", "alice")
    show(clean_desk, "blog", FOOT, "started again").end()


def test_a_logout_while_isod_is_down_counts_when_it_is_back(lab: Lab, clean_desk: Sway) -> None:
    with policy(lab, "blog", 'on_logout = "stop"'):
        show(clean_desk, "blog", FOOT, "until logout").end()
        show(clean_desk, "plain", FOOT, "stays").end()
        lab.run("loginctl", "disable-linger", "alice")
        try:
            lab.run("systemctl", "stop", "isod")
            clean_desk.log_out()
            lab.wait_for(lambda: not lab.host_path("/run/user/1000").exists(), 30, "alice's manager stays")
            assert _is_active(lab, "blog")
            lab.run("systemctl", "start", "isod")
            lab.wait_for(lambda: not _is_active(lab, "blog"), 40, "blog still runs")
            assert _is_active(lab, "plain")
            _no_stacks_and_no_leftovers(lab, "plain")
        finally:
            lab.run("systemctl", "start", "isod")
            lab.run("loginctl", "enable-linger", "alice")
        clean_desk.log_in()
    for container in ("blog", "plain"):
        show(clean_desk, container, FOOT, "after a new login").end()
